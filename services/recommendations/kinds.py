"""What can be brought in and taken out in files here: terms, issuing bodies, sources and recommendations."""

from services.recommendations import recommendations, sources, vocabulary
from services.recommendations.known import PartnerKnown
from services.recommendations.recommendations import (
    CloseRecommendation,
    DescribeRecommendation,
    Recommendation,
    RegisterRecommendation,
)
from services.recommendations.sources import IssuingBody, RegisterIssuingBody, RegisterSource, Source
from services.recommendations.vocabulary import EndTerm, IntroduceTerm, Term
from shared.kinds import Change, Kind, Move
from shared.names import followed, owned

PARTNERS = followed(PartnerKnown, "partner")

TERMS = Kind(
    "terms",
    Term,
    IntroduceTerm,
    vocabulary.introduce,
    operation="introduce_term",
    listing="list_terms",
    key=("vocabulary", "code"),
    moves=[Move("end_term", ("standing",), "ended", EndTerm, vocabulary.end)],
    first="standing",
    state=lambda term: "ended" if term.ended else "standing",
)

ISSUING_BODIES = Kind(
    "issuing-bodies",
    IssuingBody,
    RegisterIssuingBody,
    sources.register_body,
    operation="register_issuing_body",
    listing="list_issuing_bodies",
    names={"partner_id": PARTNERS},
)

SOURCES = Kind(
    "sources",
    Source,
    RegisterSource,
    sources.register,
    operation="register_source",
    listing="list_sources",
    names={"issuing_body_id": owned(IssuingBody)},
)

CLOSING = Move(
    "close_recommendation",
    ("registered", "under consideration", "responded", "open", "reopened"),
    "closed",
    CloseRecommendation,
    recommendations.close,
)

RECOMMENDATIONS = Kind(
    "recommendations",
    Recommendation,
    RegisterRecommendation,
    recommendations.register,
    operation="register_recommendation",
    listing="list_recommendations",
    names={"source_id": owned(Source), "parent_id": owned(Recommendation), "addressees": PARTNERS},
    change=Change("describe_recommendation", DescribeRecommendation, recommendations.describe),
    moves=[CLOSING],
    first="registered",
)

KINDS = (TERMS, ISSUING_BODIES, SOURCES, RECOMMENDATIONS)
