"""Who may do what: every operation of every service, with the functions that may call it.

A route that is not in here does not start, and `tests/test_permissions.py` walks every route with every function. What
a row cannot say, a rule of the noun says: a partner writes only for itself, the lead of an action does not judge its
own link, nobody reviews its own report.
"""

from shared.access import ANYONE_KNOWN, FOLLOWERS, PUBLIC, Permissions, costly, may, scopes_of
from shared.gate import Function

REPORTER, ALTERNATE, VALIDATOR = Function.REPORTER, Function.ALTERNATE, Function.VALIDATOR
COORDINATOR, SECRETARIAT = Function.COORDINATOR, Function.SECRETARIAT
TASK_FORCE_MEMBER, ISSUING_BODY, AUDITOR = Function.TASK_FORCE_MEMBER, Function.ISSUING_BODY, Function.AUDITOR

PROBLEMS: Permissions = {
    "list_problems": PUBLIC,
    "read_problem": PUBLIC,
}
"""What every service has."""

SUBSCRIPTIONS: Permissions = {
    "list_subscriptions": ANYONE_KNOWN,
    "read_subscription": ANYONE_KNOWN,
    "read_subscription_progress": ANYONE_KNOWN,
    "list_subscription_attempts": ANYONE_KNOWN,
    "list_subscription_dead_letters": ANYONE_KNOWN,
    "begin_subscription": costly(ANYONE_KNOWN),
    "pause_subscription": ANYONE_KNOWN,
    "resume_subscription": ANYONE_KNOWN,
    "replay_subscription": ANYONE_KNOWN,
    "redeliver_subscription": ANYONE_KNOWN,
    "rotate_key_of_subscription": ANYONE_KNOWN,
    "end_subscription": ANYONE_KNOWN,
}
"""Whoever may read the feed may have it sent; each organisation sees and changes only its own."""

FEED: Permissions = (
    PROBLEMS
    | SUBSCRIPTIONS
    | {
        "events_after": FOLLOWERS,
        "head_of_events": FOLLOWERS,
        "read_event": FOLLOWERS,
        "list_event_types": PUBLIC,
        "read_event_type": PUBLIC,
        "read_receipt": ANYONE_KNOWN,
    }
)
"""What every service has that records facts."""

FILES: Permissions = {
    "read_import": ANYONE_KNOWN,
    "lines_of_import": ANYONE_KNOWN,
    "export_all": PUBLIC,
}
"""An import is seen by its own organisation; an export takes what the list of its kind takes, and each line of an
import what its operation takes."""

RECOMMENDATIONS: Permissions = (
    FEED
    | FILES
    | {
        "start_import": costly(may(COORDINATOR, ISSUING_BODY)),
        "list_terms": PUBLIC,
        "read_term": PUBLIC,
        "introduce_term": may(COORDINATOR),
        "end_term": may(COORDINATOR),
        "list_issuing_bodies": PUBLIC,
        "read_issuing_body": PUBLIC,
        "register_issuing_body": may(COORDINATOR),
        "list_sources": PUBLIC,
        "read_source": PUBLIC,
        "register_source": may(COORDINATOR),
        "list_recommendations": PUBLIC,
        "read_recommendation": PUBLIC,
        "register_recommendation": may(COORDINATOR, ISSUING_BODY),
        "describe_recommendation": may(COORDINATOR, ISSUING_BODY),
        "classify_recommendation": may(COORDINATOR),
        "close_recommendation": may(COORDINATOR, ISSUING_BODY),
        "reopen_recommendation": may(COORDINATOR, ISSUING_BODY),
    }
)

PROGRAMME: Permissions = (
    FEED
    | FILES
    | {
        "start_import": costly(may(COORDINATOR, SECRETARIAT, REPORTER, ALTERNATE)),
        "list_partners": PUBLIC,
        "read_partner": PUBLIC,
        "register_partner": may(COORDINATOR),
        "describe_partner": may(COORDINATOR),
        "end_partner": may(COORDINATOR),
        "list_programmes": PUBLIC,
        "read_programme": PUBLIC,
        "adopt_programme": may(COORDINATOR),
        "list_action_lines": PUBLIC,
        "read_action_line": PUBLIC,
        "draw_action_line": may(COORDINATOR),
        "list_actions": PUBLIC,
        "read_action": PUBLIC,
        "plan_action": may(COORDINATOR),
        "describe_action": may(COORDINATOR),
        "start_action": may(COORDINATOR),
        "hold_action": may(COORDINATOR),
        "complete_action": may(COORDINATOR),
        "drop_action": may(COORDINATOR),
        "reschedule_action": may(COORDINATOR),
        "assign_action": may(COORDINATOR),
        "classify_action": may(COORDINATOR),
        "note_action": may(COORDINATOR),
        "list_links": PUBLIC,
        "read_link": PUBLIC,
        "propose_link": may(COORDINATOR, SECRETARIAT, REPORTER, ALTERNATE),
        "dispute_link": may(COORDINATOR, SECRETARIAT, REPORTER, ALTERNATE),
        "confirm_link": may(COORDINATOR, SECRETARIAT),
        "end_link": may(COORDINATOR, SECRETARIAT),
        "declare_link_sufficient": may(COORDINATOR, SECRETARIAT),
        "list_clients": may(COORDINATOR, AUDITOR),
        "read_client": may(COORDINATOR, AUDITOR),
        "register_client": may(COORDINATOR),
        "grant_client": may(COORDINATOR),
        "revoke_client": may(COORDINATOR),
        "list_keys": may(COORDINATOR, AUDITOR),
        "read_key": may(COORDINATOR, AUDITOR),
        "issue_key": may(COORDINATOR),
        "revoke_key": may(COORDINATOR),
        "list_appointments": may(COORDINATOR, AUDITOR),
        "read_appointment": may(COORDINATOR, AUDITOR),
        "appoint_function": may(COORDINATOR),
        "end_appointment": may(COORDINATOR),
        "exchange_key": costly(PUBLIC),
        "read_signing_keys": PUBLIC,
    }
)

MONITOR: Permissions = (
    FEED
    | FILES
    | {
        "start_import": costly(may(REPORTER, ALTERNATE, COORDINATOR, SECRETARIAT, TASK_FORCE_MEMBER, ISSUING_BODY)),
        "report_form": may(REPORTER, ALTERNATE, VALIDATOR),
        "list_rounds": PUBLIC,
        "read_round": PUBLIC,
        "plan_round": may(COORDINATOR),
        "open_round": may(COORDINATOR),
        "close_round": may(COORDINATOR),
        "list_obligations": PUBLIC,
        "read_obligation": PUBLIC,
        "impose_obligation": may(COORDINATOR),
        "extend_obligation": may(COORDINATOR),
        "waive_obligation": may(COORDINATOR),
        "list_reports": ANYONE_KNOWN,
        "read_report": ANYONE_KNOWN,
        "draft_report": may(REPORTER, ALTERNATE),
        "revise_report": may(REPORTER, ALTERNATE),
        "submit_report": may(REPORTER, ALTERNATE),
        "withdraw_report": may(REPORTER, ALTERNATE, VALIDATOR),
        "take_up_report": may(COORDINATOR, SECRETARIAT),
        "send_back_report": may(COORDINATOR, SECRETARIAT),
        "accept_report": may(COORDINATOR, SECRETARIAT),
        "list_assessments": PUBLIC,
        "read_assessment": PUBLIC,
        "assess_uptake": may(TASK_FORCE_MEMBER, SECRETARIAT, COORDINATOR, ISSUING_BODY),
    }
)

REPORTING: Permissions = PROBLEMS | {
    "progress_per_domain": PUBLIC,
    "progress_of_domain": PUBLIC,
    "progress_per_partner": PUBLIC,
    "progress_of_partner": PUBLIC,
    "progress_matrix": PUBLIC,
    "progress_stream": PUBLIC,
}

PERMISSIONS = {
    "recommendations": RECOMMENDATIONS,
    "programme": PROGRAMME,
    "monitor": MONITOR,
    "reporting": REPORTING,
}

SCOPES = frozenset(
    scope
    for service, operations in PERMISSIONS.items()
    for operation, permitted in operations.items()
    if not permitted.public
    for writes in (True, False)
    for scope in scopes_of(service, operation, writes=writes)
)
"""Every scope that opens something: `programme:read`, `programme:write`, `programme:propose-link`, …"""
