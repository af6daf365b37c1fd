"""What can be brought in and taken out in files here: partners, programmes, action lines, actions and links."""

from services.programme import actions, links, partners, plans
from services.programme.actions import (
    Action,
    CompleteAction,
    DescribeAction,
    DropAction,
    HoldAction,
    PlanAction,
    StartAction,
)
from services.programme.known import RecommendationKnown, SourceKnown
from services.programme.links import ConfirmLink, DeclareSufficient, DisputeLink, EndLink, Link, ProposeLink
from services.programme.partners import DescribePartner, EndPartner, Partner, RegisterPartner
from services.programme.plans import ActionLine, AdoptProgramme, DrawActionLine, Programme
from shared.events.programme import LinkState
from shared.kinds import Change, Kind, Move
from shared.names import followed, owned

JOINTLY_SUFFICIENT = "jointly sufficient"
"""How a file says of a confirmed partial link that it is enough together with others."""

PARTNERS = Kind(
    "partners",
    Partner,
    RegisterPartner,
    partners.register,
    operation="register_partner",
    listing="list_partners",
    names={"parent_id": owned(Partner)},
    key=("code",),
    change=Change("describe_partner", DescribePartner, partners.describe),
    moves=[Move("end_partner", ("standing",), "ended", EndPartner, partners.end)],
    first="standing",
    state=lambda partner: "standing" if partner.ended_on is None else "ended",
)

PROGRAMMES = Kind(
    "programmes",
    Programme,
    AdoptProgramme,
    plans.adopt,
    operation="adopt_programme",
    listing="list_programmes",
    names={
        "lead_id": owned(Partner),
        "commissioning": owned(Partner),
        "based_on": followed(SourceKnown, "source"),
        "succeeds_id": owned(Programme),
    },
)

ACTION_LINES = Kind(
    "action-lines",
    ActionLine,
    DrawActionLine,
    plans.draw_line,
    operation="draw_action_line",
    listing="list_action_lines",
    names={"programme_id": owned(Programme)},
)

ACTIONS = Kind(
    "actions",
    Action,
    PlanAction,
    actions.plan,
    operation="plan_action",
    listing="list_actions",
    names={
        "programme_id": owned(Programme),
        "action_line_id": owned(ActionLine),
        "lead_id": owned(Partner),
        "lead_undecided": owned(Partner),
        "contributors": owned(Partner),
    },
    change=Change("describe_action", DescribeAction, actions.describe),
    moves=[
        Move("start_action", ("planned", "on hold"), "active", StartAction, actions.start),
        Move("hold_action", ("active",), "on hold", HoldAction, actions.hold),
        Move("complete_action", ("planned", "active", "on hold"), "completed", CompleteAction, actions.complete),
        Move("drop_action", ("planned", "active", "on hold"), "dropped", DropAction, actions.drop),
    ],
    first="planned",
)

LINKS = Kind(
    "links",
    Link,
    ProposeLink,
    links.propose,
    operation="propose_link",
    listing="list_links",
    names={"action_id": owned(Action), "recommendation_id": followed(RecommendationKnown, "recommendation")},
    key=("action_id", "recommendation_id"),
    among=Link.state != LinkState.ENDED,
    moves=[
        Move("confirm_link", ("proposed", "disputed"), "confirmed", ConfirmLink, links.confirm),
        Move("dispute_link", ("proposed", "confirmed"), "disputed", DisputeLink, links.dispute),
        Move("end_link", ("proposed", "confirmed", "disputed", JOINTLY_SUFFICIENT), "ended", EndLink, links.end),
        Move(
            "declare_link_sufficient",
            ("confirmed",),
            JOINTLY_SUFFICIENT,
            DeclareSufficient,
            links.declare_sufficient,
        ),
    ],
    first="proposed",
    state=lambda link: (
        JOINTLY_SUFFICIENT if link.jointly_sufficient and link.state is LinkState.CONFIRMED else str(link.state)
    ),
)

KINDS = (PARTNERS, PROGRAMMES, ACTION_LINES, ACTIONS, LINKS)
