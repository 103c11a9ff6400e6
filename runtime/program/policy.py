"""What the client may learn of the model's scores: chosen by the vendor, said in the Program, kept
by both parties.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from moiety.protocols.errors import BadArtifact

Reveal = Literal["scores", "probabilities", "top-1", "decision", "aggregate"]
Figures = Literal["auroc", "counts"]

MAX_COHORT = 4096
"""Images of one aggregate: all pairs of them are compared, and the sums fit rings of 64 bits."""


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`reveal`, of each image:

    - scores: the network's last values, as they are (logits, usually)
    - probabilities: these after a sigmoid that is computed on shares, in few bits
    - top-1: which of the values is the largest
    - decision: which of the values are above the vendor's thresholds, which stay secret
    - aggregate: nothing. What is made of an image stays shared through a cohort, and of each label
      `figures` are revealed to the client: "auroc", the area under the ROC curve and its standard
      error (DeLong), of scores; or "counts", how many decisions as above are true and false
      positives, from which true and false negatives follow. They are if among the cohort's images
      are at least `positives` with the label and `negatives` without, and at most `images` in all.
      `cohorts`: how many a client may ask for; None: the access file says.
    """

    reveal: Reveal = "scores"
    figures: Figures = "auroc"
    positives: int = 10
    negatives: int = 10
    images: int = 1024
    cohorts: int | None = None

    @property
    def tells_of_images(self) -> bool:
        """Whether anything of a single image is revealed."""
        return self.reveal != "aggregate"

    @property
    def counts(self) -> bool:
        """Whether the decisions of a cohort are counted."""
        return self.reveal == "aggregate" and self.figures == "counts"

    @property
    def decides(self) -> bool:
        """Whether values are compared with the vendor's thresholds."""
        return self.reveal == "decision" or self.counts

    def check(self) -> None:
        """BadArtifact unless the numbers make sense."""
        if self.figures != "auroc" and self.reveal != "aggregate":
            raise BadArtifact(
                f"the Program's policy is to reveal {self.reveal}, and names figures of a cohort"
            )
        for what, number in (("positives", self.positives), ("negatives", self.negatives)):
            if number < 2:
                raise BadArtifact(f"the Program's policy asks for {number} {what}; at least 2")
        if not self.positives + self.negatives <= self.images <= MAX_COHORT:
            raise BadArtifact(
                f"the Program's policy allows {self.images} images in a cohort; from "
                f"{self.positives + self.negatives} to {MAX_COHORT} are possible"
            )
        if self.cohorts is not None and self.cohorts < 1:
            raise BadArtifact("the Program's policy allows no cohort")


ALL_SCORES = Policy()
