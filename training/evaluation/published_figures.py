"""Published figures on InterHand2.6M's test split (5 fps), mm, by protocol. Never to be shown beside another set's.

All of them count the root's zero error in MPJPE (`Protocol.as_published`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One method's figures: MPJPE of all, single and two hands, MPVPE, MRRPE; None where its paper gives none."""

    method: str
    protocol: str
    source: str
    figures_mm: tuple[float | None, ...]


DATASET = "InterHand2.6M"
FIGURES = (
    Published("InterNet", "wrist", "Moon et al., ECCV 2020", (14.22, 12.16, 16.02, None, None)),
    Published("Keypoint Transformer", "wrist", "Hampali et al., CVPR 2022", (12.62, 10.88, 14.16, None, 29.50)),
    Published("A2J-Transformer", "wrist", "Jiang et al., CVPR 2023", (9.63, 8.10, 10.96, None, None)),
    Published("IntagHand", "mcp-scaled", "Li et al., CVPR 2022", (None, None, 8.80, 9.03, None)),
    Published("Zhang 2021", "mcp-scaled", "ICCV 2021, on v1.0", (None, None, 8.64, 9.59, None)),
    Published("DIR", "wrist-scaled", "Ren et al., ICCV 2023", (None, None, 10.23, 10.00, 29.26)),
    Published("InterWild", "human", "Moon, CVPR 2023", (13.65, 12.75, 14.55, 11.55, 26.74)),
    Published("EANet", "er", "Park et al., ICCVW 2023", (5.88, None, None, 5.45, 28.54)),
    Published("ER", "er", "its paper", (6.65, None, None, None, None)),
    Published("ER's kin, TinyViT-5M", "er", "its paper", (7.94, None, None, None, None)),
    Published("ER's kin, TinyViT-11M", "er", "read off its paper's figure", (6.54, None, None, None, None)),
    Published("ER's kin, TinyViT-21M", "er", "read off its paper's figure", (6.29, None, None, None, None)),
)


def published_for(protocol: str) -> tuple[Published, ...]:
    """The figures of one protocol."""
    return tuple(figure for figure in FIGURES if figure.protocol == protocol)
