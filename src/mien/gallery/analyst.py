"""What a gallery analyses pictures with, and whether embeddings are its own recogniser's."""

from __future__ import annotations

import numpy as np

from mien.core.card import Card
from mien.core.faces import Faces
from mien.gallery.recogniser import Recogniser, recogniser_of
from mien.gallery.store import Store
from mien.runtime.pipeline import Options, Pipeline, ready


class Analyst:
    """Analyses pictures for a gallery.

    Attributes:
        store: the gallery's.
        mirror: the mirrored face's embedding is added.
    """

    def __init__(self, store: Store, options: Options) -> None:
        self.store = store
        self.mirror = options.mirror
        self._options = options

    def pipeline(self) -> Pipeline:
        """Return the pipeline, whose recogniser is the gallery's.

        Raises:
            OtherRecogniser: it is not.
            ModelMissing: a model is not on this machine.
        """
        pipeline = self.raw_pipeline()
        bound = self.store.recogniser()
        model = pipeline.model_for("embeddings")
        if bound is not None and model is not None:
            # Before any work is done on pictures that would be refused.
            card = model.card
            self.store.require(bound, Recogniser(card.name, card.version, bound.size, self.mirror, card))
        return pipeline

    def raw_pipeline(self) -> Pipeline:
        """Return the pipeline, whosever its recogniser is."""
        return ready(self._options)

    def target(self) -> Recogniser:
        """Return the pipeline's recogniser, whatever the gallery's is."""
        model = self.raw_pipeline().model_for("embeddings")
        assert model is not None
        card = model.card
        size = model.empty("embeddings").shape[1]
        if not size:  # the graph does not say
            assert card.crop is not None
            grey = np.full((1, 3, card.crop.height, card.crop.width), 127, np.float32)
            size = model.run(grey)["embeddings"].shape[1]
        return Recogniser(card.name, card.version, size, self.mirror, card)

    def recogniser(self, faces: Faces) -> Recogniser | None:
        """Return what made the embeddings of faces; None where there are no faces."""
        if not len(faces):
            return None
        return recogniser_of(faces, mirrored=self.mirror, card=self._card(faces.makers.get("embeddings", "")))

    def _card(self, maker: str) -> Card | None:
        bound = self.store.recogniser()
        if bound is not None and maker == f"{bound.model} {bound.version}":
            return bound.card
        return _known_card(maker)


def _known_card(maker: str) -> Card | None:
    from mien.runtime import assets

    cards = [entry.card for entry in assets.installed()]
    cards += [asset.card for asset in assets.table().values()]
    return next((card for card in cards if card.maker == maker), None)
