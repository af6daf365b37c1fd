"""The catalogue of problems: every way in which a service refuses, explained for the one who meets it.

Each has a page of its own at `/<service>/v1/problems/{slug}`, which is what the `type` of a problem document points at.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """One text in both languages."""

    nl: str
    en: str


@dataclass(frozen=True)
class ProblemType:
    """One kind of refusal: what it means, and what mends it."""

    slug: str
    status: int
    title: Words
    meaning: Words
    mend: Words
    registered: str | None = None
    """Its address outside this house, for a kind that others defined."""

    def uri(self, service: str) -> str:
        return self.registered or f"/{service}/v1/problems/{self.slug}"


INVALID = ProblemType(
    "invalid",
    400,
    Words("Het verzoek klopt niet", "The request is not valid"),
    Words(
        "Iets in het adres, de headers of de inhoud is niet geschreven zoals gevraagd, of kan niet waar zijn.",
        "Something in the address, the headers or the body is not written as asked, or cannot be right.",
    ),
    Words(
        "Herstel elk veld dat onder `errors` staat en stuur het verzoek opnieuw; dezelfde Idempotency-Key mag.",
        "Mend each field that is listed under `errors` and send the request again; the same Idempotency-Key will do.",
    ),
)
TOKEN_NEEDED = ProblemType(
    "token-needed",
    401,
    Words("Een geldig token is nodig", "A valid token is needed"),
    Words(
        "Er kwam geen token mee, of een dat verlopen is of niet van deze uitgever voor dit doel komt.",
        "No token came along, or one that is expired or not from this issuer for this audience.",
    ),
    Words(
        "Haal een nieuw token bij de uitgever en stuur het als `Authorization: Bearer …`.",
        "Get a new token from the issuer and send it as `Authorization: Bearer …`.",
    ),
)
NOT_ALLOWED = ProblemType(
    "not-allowed",
    403,
    Words("Niet toegestaan", "Not allowed"),
    Words(
        "Het token klopt, maar mist de functie of scope hiervoor, of een regel staat het uw organisatie niet toe.",
        "The token is good, but lacks the function or scope for this, or a rule forbids it to your organisation.",
    ),
    Words(
        "`detail` noemt wat ontbreekt; vraag dat aan bij wie uw toegang beheert.",
        "`detail` names what is missing; ask for it where your access is looked after.",
    ),
)
NOT_FOUND = ProblemType(
    "not-found",
    404,
    Words("Niet gevonden", "Not found"),
    Words(
        "Het adres bestaat, maar er is niets met dit id of deze code, of het is niet voor u.",
        "The address exists, but there is nothing with this id or code, or it is not for you.",
    ),
    Words("Zoek het id op in de lijst erboven.", "Look the id up in the list above it."),
)
NO_SUCH_ADDRESS = ProblemType(
    "no-such-address",
    404,
    Words("Dit adres bestaat niet", "There is no such address"),
    Words(
        "Deze dienst heeft niets op dit adres; een schuine streep aan het einde maakt ook een ander adres.",
        "This service has nothing at this address; a slash at the end makes another address too.",
    ),
    Words("Alle adressen staan in openapi.json.", "All addresses are in openapi.json."),
)
METHOD_NOT_TAKEN = ProblemType(
    "method-not-taken",
    405,
    Words("Deze methode kan hier niet", "Method not allowed"),
    Words("Het adres bestaat, maar neemt deze methode niet aan.", "The address exists, but does not take this method."),
    Words("Gebruik een methode die in `Allow` staat.", "Use a method that is listed in `Allow`."),
)
NOT_ACCEPTABLE = ProblemType(
    "not-acceptable",
    406,
    Words("Niet in deze vorm", "Not in this form"),
    Words(
        "Dit adres kan niet antwoorden in een vorm die in `Accept` staat.",
        "This address cannot answer in any form that `Accept` names.",
    ),
    Words(
        "Vraag een vorm die in `detail` staat, of laat `Accept` weg.",
        "Ask for a form that `detail` names, or leave `Accept` out.",
    ),
)
CONFLICT = ProblemType(
    "conflict",
    409,
    Words("Kan niet in deze toestand", "Not possible in this state"),
    Words(
        "Een regel laat dit niet toe zoals de zaken er nu voor staan.",
        "A rule does not allow this as things stand now.",
    ),
    Words("Lees opnieuw hoe het ervoor staat en beslis dan.", "Read again how things stand, and then decide."),
)
NOT_KNOWN_YET = ProblemType(
    "not-known-yet",
    409,
    Words("Hier nog niet bekend", "Not known here yet"),
    Words(
        "Het verzoek verwijst naar iets van een andere dienst dat hier nog niet is aangekomen.",
        "The request refers to something of another service that has not arrived here yet.",
    ),
    Words(
        "Wacht zolang als `Retry-After` zegt en stuur hetzelfde opnieuw, of stuur `Kapstok-At-Least` mee met de "
        "positie van de kwitantie; bestaat het id nergens, herstel het dan.",
        "Wait as long as `Retry-After` says and send the same again, or send `Kapstok-At-Least` with the position of "
        "your receipt; where the id exists nowhere, mend it.",
    ),
)
GONE = ProblemType(
    "gone",
    410,
    Words("Opgeheven", "Gone"),
    Words(
        "Dit is opgeheven op de dag die in `Sunset` staat; dat was van tevoren aangekondigd.",
        "This ended on the day that `Sunset` names, as was told before.",
    ),
    Words(
        "De link met `rel=deprecation` zegt wat ervoor in de plaats kwam.",
        "The link with `rel=deprecation` says what took its place.",
    ),
)
STALE = ProblemType(
    "stale",
    412,
    Words("Intussen veranderd", "Changed in the meantime"),
    Words(
        "`If-Match` noemt een andere versie dan die er nu is; een ander was u voor.",
        "`If-Match` names another version than the one that stands now; someone else was before you.",
    ),
    Words(
        "Lees opnieuw, beslis opnieuw, en stuur de nieuwe `ETag` mee.",
        "Read again, decide anew, and send the new `ETag`.",
    ),
)
TOO_LARGE = ProblemType(
    "too-large",
    413,
    Words("Te groot", "Too large"),
    Words("De inhoud is groter dan hier mag.", "The body is larger than is taken here."),
    Words("Maak de teksten korter, of verdeel het.", "Make the texts shorter, or divide it."),
)
MEDIA_TYPE_NOT_TAKEN = ProblemType(
    "media-type-not-taken",
    415,
    Words("Deze vorm wordt niet aangenomen", "Media type not supported"),
    Words(
        "`Content-Type` ontbreekt, of noemt een vorm die dit adres niet leest.",
        "`Content-Type` is missing, or names a form that this address does not read.",
    ),
    Words("Stuur de vorm die in `detail` staat.", "Send the form that `detail` names."),
)
KEY_REUSED = ProblemType(
    "key-reused",
    422,
    Words("Deze Idempotency-Key is al gebruikt", "Idempotency-Key used before"),
    Words(
        "Dezelfde Idempotency-Key kwam eerder met een ander verzoek.",
        "The same Idempotency-Key came with another request before.",
    ),
    Words(
        "Herhaal precies het eerdere verzoek, of kies een nieuwe sleutel voor een nieuw verzoek.",
        "Repeat exactly the earlier request, or take a new key for a new request.",
    ),
)
VERSION_NEEDED = ProblemType(
    "version-needed",
    428,
    Words("If-Match is nodig", "If-Match is needed"),
    Words(
        "Wie iets verandert, zegt welke versie hij gelezen heeft; zo wordt niets van een ander overschreven.",
        "Who changes something says which version it has read; so nothing of another is overwritten.",
    ),
    Words("Stuur de `ETag` van wat u las als `If-Match`.", "Send the `ETag` of what you read as `If-Match`."),
)
QUOTA_EXCEEDED = ProblemType(
    "quota-exceeded",
    429,
    Words("Te veel verzoeken", "Too many requests"),
    Words(
        "Er kwamen meer verzoeken dan het beleid toelaat dat onder `violated-policies` staat.",
        "More requests came than the policy allows that is listed under `violated-policies`.",
    ),
    Words(
        "Wacht zolang als `Retry-After` zegt. `RateLimit` zegt bij elk antwoord wat er over is.",
        "Wait as long as `Retry-After` says. `RateLimit` tells with every answer what is left.",
    ),
    registered="https://iana.org/assignments/http-problem-types#quota-exceeded",
)
OUR_FAULT = ProblemType(
    "our-fault",
    500,
    Words("Hier ging iets mis", "Something went wrong here"),
    Words("Dit is onze fout; er is niets opgeslagen.", "This is our fault; nothing was saved."),
    Words(
        "Meld het met het nummer uit `traceresponse`; opnieuw sturen met dezelfde Idempotency-Key is veilig.",
        "Tell us, with the number in `traceresponse`; sending it again with the same Idempotency-Key is safe.",
    ),
)
UNAVAILABLE = ProblemType(
    "unavailable",
    503,
    Words("Nu even niet bereikbaar", "Temporarily not available"),
    Words(
        "Iets waar deze dienst van afhangt antwoordt niet, of de dienst start of stopt juist.",
        "Something that this service depends on does not answer, or the service is just starting or stopping.",
    ),
    Words(
        "Stuur na `Retry-After` hetzelfde opnieuw, met dezelfde Idempotency-Key: het wordt één keer uitgevoerd.",
        "Send the same again after `Retry-After`, with the same Idempotency-Key: it is carried out once.",
    ),
)

CATALOGUE = {
    one.slug: one
    for one in (
        INVALID,
        TOKEN_NEEDED,
        NOT_ALLOWED,
        NOT_FOUND,
        NO_SUCH_ADDRESS,
        METHOD_NOT_TAKEN,
        NOT_ACCEPTABLE,
        CONFLICT,
        NOT_KNOWN_YET,
        GONE,
        STALE,
        TOO_LARGE,
        MEDIA_TYPE_NOT_TAKEN,
        KEY_REUSED,
        VERSION_NEEDED,
        QUOTA_EXCEEDED,
        OUR_FAULT,
        UNAVAILABLE,
    )
}
"""By slug."""
