"""Every route of `recommendations`; each is one line that calls a noun."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from services.recommendations import recommendations, sources, vocabulary
from services.recommendations.recommendations import (
    ClassifyRecommendation,
    CloseRecommendation,
    DescribeRecommendation,
    Recommendation,
    RecommendationFields,
    RegisterRecommendation,
    ReopenRecommendation,
)
from services.recommendations.sources import (
    IssuingBody,
    IssuingBodyFields,
    RegisterIssuingBody,
    RegisterSource,
    Source,
    SourceFields,
)
from services.recommendations.vocabulary import EndTerm, IntroduceTerm, Term, TermFields
from shared.database import Page, called, find, page_of
from shared.events.recommendations import ClosingReason, Kind, RegisterState, Vocabulary
from shared.http import Door, EntityOut, ExternalId, Listing, Paging, Session, paging
from shared.texts import Code

router = APIRouter(route_class=Door)


class TermOut(TermFields, EntityOut):
    ended: bool


class IssuingBodyOut(IssuingBodyFields, EntityOut):
    pass


class SourceOut(SourceFields, EntityOut):
    pass


class RecommendationOut(RecommendationFields, EntityOut):
    state: RegisterState
    closing_reason: ClosingReason | None


@router.post("/terms", status_code=201, response_model=TermOut)
async def introduce_term(command: IntroduceTerm, session: Session) -> Term:
    return await vocabulary.introduce(session, command)


@router.get("/terms", response_model=Listing[TermOut])
async def list_terms(
    session: Session,
    page: Annotated[Page, paging("code")],
    external_id: ExternalId = None,
    vocabulary: Annotated[Vocabulary | None, Query(description="Those of this vocabulary.")] = None,
) -> object:
    where = [] if vocabulary is None else [Term.vocabulary == vocabulary]
    return await page_of(session, Term, page, *called(Term, external_id), *where)


@router.get("/terms/{id}", response_model=TermOut)
async def read_term(id: UUID, session: Session) -> Term:
    return await find(session, Term, id)


@router.post("/terms/{id}/_end", response_model=TermOut)
async def end_term(id: UUID, command: EndTerm, session: Session) -> Term:
    return await vocabulary.end(session, id, command)


@router.post("/issuing-bodies", status_code=201, response_model=IssuingBodyOut)
async def register_issuing_body(command: RegisterIssuingBody, session: Session) -> IssuingBody:
    return await sources.register_body(session, command)


@router.get("/issuing-bodies", response_model=Listing[IssuingBodyOut])
async def list_issuing_bodies(session: Session, page: Paging, external_id: ExternalId = None) -> object:
    return await page_of(session, IssuingBody, page, *called(IssuingBody, external_id))


@router.get("/issuing-bodies/{id}", response_model=IssuingBodyOut)
async def read_issuing_body(id: UUID, session: Session) -> IssuingBody:
    return await find(session, IssuingBody, id)


@router.post("/sources", status_code=201, response_model=SourceOut)
async def register_source(command: RegisterSource, session: Session) -> Source:
    return await sources.register(session, command)


@router.get("/sources", response_model=Listing[SourceOut])
async def list_sources(
    session: Session, page: Annotated[Page, paging("publishedOn")], external_id: ExternalId = None
) -> object:
    return await page_of(session, Source, page, *called(Source, external_id))


@router.get("/sources/{id}", response_model=SourceOut)
async def read_source(id: UUID, session: Session) -> Source:
    return await find(session, Source, id)


@router.post("/recommendations", status_code=201, response_model=RecommendationOut)
async def register_recommendation(command: RegisterRecommendation, session: Session) -> Recommendation:
    return await recommendations.register(session, command)


@router.get("/recommendations", response_model=Listing[RecommendationOut])
async def list_recommendations(
    session: Session,
    page: Paging,
    external_id: ExternalId = None,
    source_id: Annotated[UUID | None, Query(alias="sourceId", description="Those of this source.")] = None,
    kind: Annotated[Kind | None, Query(description="Those of this kind.")] = None,
    domain: Annotated[Code | None, Query(description="Those in this domain.")] = None,
) -> object:
    return await recommendations.listed(session, page, external_id, source_id, kind, domain)


@router.get("/recommendations/{id}", response_model=RecommendationOut)
async def read_recommendation(id: UUID, session: Session) -> Recommendation:
    return await find(session, Recommendation, id)


@router.patch("/recommendations/{id}", response_model=RecommendationOut)
async def describe_recommendation(id: UUID, command: DescribeRecommendation, session: Session) -> Recommendation:
    return await recommendations.describe(session, id, command)


@router.post("/recommendations/{id}/_classify", response_model=RecommendationOut)
async def classify_recommendation(id: UUID, command: ClassifyRecommendation, session: Session) -> Recommendation:
    return await recommendations.classify(session, id, command)


@router.post("/recommendations/{id}/_close", response_model=RecommendationOut)
async def close_recommendation(id: UUID, command: CloseRecommendation, session: Session) -> Recommendation:
    return await recommendations.close(session, id, command)


@router.post("/recommendations/{id}/_reopen", response_model=RecommendationOut)
async def reopen_recommendation(id: UUID, command: ReopenRecommendation, session: Session) -> Recommendation:
    return await recommendations.reopen(session, id, command)
