"""What a gallery analyses pictures with, and whether embeddings are its own recogniser's."""

from __future__ import annotations

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
        pipeline = ready(self._options)
        bound = self.store.recogniser()
        model = pipeline.model_for("embeddings")
        if bound is not None and model is not None:
            # Before any work is done on pictures that would be refused.
            card = model.card
            self.store.require(bound, Recogniser(card.name, card.version, bound.size, self.mirror, card))
        return pipeline

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
