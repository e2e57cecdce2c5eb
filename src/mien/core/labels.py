"""Label orders of the field's data sets: what the number in a label column means.

One class has one name in every set, so that classes of different sets are matched by name: a face that
FER2013 calls "Happy" and AffectNet "Happy" is `happiness` in both.
"""

from __future__ import annotations

FER2013_EXPRESSIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
"""The `emotion` column of FER2013's fer2013.csv (Goodfellow et al. 2013), 0..6."""

FERPLUS_EXPRESSIONS = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
)
"""The eight classes of FER+ (Barsoum et al. 2016), in the order of fer2013new.csv."""

FERPLUS_VOTES = (*FERPLUS_EXPRESSIONS, "unknown", "NF")
"""All ten columns of votes of fer2013new.csv; NF says "not a face"."""

AFFECTNET_EXPRESSIONS = (
    "neutral",
    "happiness",
    "sadness",
    "surprise",
    "fear",
    "disgust",
    "anger",
    "contempt",
)
"""The eight classes of AffectNet (Mollahosseini et al. 2017), 0..7."""

AFFECTNET_LABELS = (*AFFECTNET_EXPRESSIONS, "none", "uncertain", "no_face")
"""The eleven values of AffectNet's `expression` column; valence and arousal go with the first eight."""

AFFECT = {
    "neutral": (0.0, 0.0),
    "happiness": (0.81, 0.51),
    "sadness": (-0.63, -0.27),
    "surprise": (0.40, 0.67),
    "fear": (-0.64, 0.60),
    "disgust": (-0.60, 0.35),
    "anger": (-0.51, 0.59),
}
"""Where the words of expressions lie: valence and arousal, each -1..1.

The means of Russell and Mehrabian's raters (1977, "Evidence for a three-factor theory of emotions", J. of
Research in Personality 11, table of 151 terms: happy, sad, surprised, fearful, disgusted, angry). Neutral is
the origin, as in AffectNet's instructions. Contempt has no value here.
"""

RAFDB_EXPRESSIONS = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
"""The basic expressions of RAF-DB (Li et al. 2017); its list counts them from 1, our column from 0."""

RAFDB_GENDERS = ("male", "female", "unsure")
"""RAF-DB's gender, 0..2."""

RAFDB_RACES = ("caucasian", "african_american", "asian")
"""RAF-DB's race, 0..2, by its own names."""

RAFDB_AGES = ("0-3", "4-19", "20-39", "40-69", "70+")
"""RAF-DB's age groups in years, 0..4."""

UTKFACE_GENDERS = ("male", "female")
"""UTKFace's gender, 0..1: the other way round than the columns of the field `gender`."""

VGGFACE2_GENDERS = ("female", "male")
"""VGGFace2's gender, "f" or "m" in its table of people."""

UTKFACE_RACES = ("white", "black", "asian", "indian", "others")
"""UTKFace's race, 0..4, by its own names."""

CELEBA_ATTRIBUTES = (
    "5_o_Clock_Shadow",
    "Arched_Eyebrows",
    "Attractive",
    "Bags_Under_Eyes",
    "Bald",
    "Bangs",
    "Big_Lips",
    "Big_Nose",
    "Black_Hair",
    "Blond_Hair",
    "Blurry",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Chubby",
    "Double_Chin",
    "Eyeglasses",
    "Goatee",
    "Gray_Hair",
    "Heavy_Makeup",
    "High_Cheekbones",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "Narrow_Eyes",
    "No_Beard",
    "Oval_Face",
    "Pale_Skin",
    "Pointy_Nose",
    "Receding_Hairline",
    "Rosy_Cheeks",
    "Sideburns",
    "Smiling",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Earrings",
    "Wearing_Hat",
    "Wearing_Lipstick",
    "Wearing_Necklace",
    "Wearing_Necktie",
    "Young",
)
"""The forty attributes of CelebA (Liu et al. 2015), in the order of list_attr_celeba.txt."""
