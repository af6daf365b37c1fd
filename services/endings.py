"""Which operations end, and when: the published schedule of every service, by the name of the operation.

At most two major versions of an interface stand beside each other, and nothing stops within six months of its
announcement here. Nothing ends today.
"""

from shared.endings import Endings

ENDINGS: dict[str, Endings] = {
    "recommendations": {},
    "programme": {},
    "monitor": {},
    "reporting": {},
}
