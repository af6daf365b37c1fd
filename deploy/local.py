"""`make up`: a running Kapstok on this machine, loaded with the real facts, until ctrl-C."""

import argparse
import asyncio
import signal
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from deploy.seed import Seed, SeedFailed
from deploy.stack import PORTS, SERVICES, Stack, ports_in_use, remember

console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def main() -> None:
    parser = argparse.ArgumentParser(description="Run Kapstok on this machine.")
    parser.add_argument("--home", type=Path, default=Path(".local"), help="where the data is kept")
    parser.add_argument("--demo", action="store_true", help="add clearly marked invented reports")
    parser.add_argument("--once", action="store_true", help="stop again after the table (for checks)")
    parser.add_argument("--port-base", type=int, default=8000, help="first of the ports that are used")
    arguments = parser.parse_args()
    ports = {name: port - 8000 + arguments.port_base for name, port in PORTS.items()}
    taken = ports_in_use(ports)
    if taken:
        sys.exit(f"In use already: {', '.join(taken)}. Is another `make up` running? Or choose PORT_BASE=18000.")
    sys.exit(asyncio.run(_run(arguments.home.resolve(), ports, demo=arguments.demo, once=arguments.once)))


async def _run(home: Path, ports: dict[str, int], *, demo: bool, once: bool) -> int:
    started = time.monotonic()
    asked_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked_to_stop.set)
    stack = Stack.at(home, ports)
    try:
        console.print("Starting PostgreSQL, nats-server and the four services …")
        await stack.start()
        remember(stack)
        if not asked_to_stop.is_set():
            seed = await _load(stack, demo)
            console.print(f"{seed.made} facts told; what was there already stayed as it was.")
            await _show(stack, seed, time.monotonic() - started)
        while not once and not asked_to_stop.is_set():
            ended = stack.ended()
            if ended is not None:
                console.print(f"[red]{ended} ended by itself; see {home / 'logs'}.[/red]")
                return 1
            try:
                async with asyncio.timeout(0.5):
                    await asked_to_stop.wait()
            except TimeoutError:
                continue
        return 0
    except (SeedFailed, RuntimeError) as error:
        console.print(f"[red]{error}[/red]")
        return 1
    finally:
        console.print("Stopping …")
        stack.stop()


async def _load(stack: Stack, demo: bool) -> Seed:
    shown: set[str] = set()

    def told(what: str, done: int, total: int) -> None:
        if console.is_terminal:
            console.print(f"  {what}: {done} of {total}", end="\r" if done < total else "\n")
        elif done == total and what not in shown:
            shown.add(what)
            console.print(f"  {what}: {total}")

    seed = Seed(
        {service: stack.url(service) for service in SERVICES},
        lambda organisation, functions: stack.issuer.token(organisation, functions),
        told,
    )
    await seed.load(demonstration=demo)
    return seed


async def _show(stack: Stack, seed: Seed, seconds: float) -> None:
    headers = {"Kapstok-At-Least": ".".join(seed.position.values())} if seed.position else {}
    async with httpx.AsyncClient(base_url=f"{stack.url('reporting')}/reporting/v1", headers=headers) as client:
        domains = (await client.get("/progress/domains")).raise_for_status().json()
        partners = (await client.get("/progress/partners")).raise_for_status().json()
    console.print(_domain_table(domains))
    console.print(_partner_table(partners))
    if domains["total"]["implementation"]["no data"]:
        console.print(
            f"{domains['total']['implementation']['no data']} of {domains['total']['recommendations']} recommendations"
            " have no data: recommendations and actions are public, but on these no partner has reported here yet."
            " No data is not zero."
        )
    if domains["demonstration"]:
        console.print("[bold]Invented demonstration reports are counted in these tables.[/bold]")
    console.print(f"\nAs of {domains['asOf']}, position {domains['position']}; up in {seconds:.1f} s.\n")
    console.print(f"Page            {stack.url('reporting')}/")
    for service in SERVICES:
        console.print(f"{service:<15} {stack.url(service)}/{service}/v1/openapi.json", soft_wrap=True)
    console.print("\nToken of the coordinator (jenv), six hours:", style="bold")
    print(stack.issuer.token("jenv", ["coordinator"]))
    console.print("Token of a reporter (comensha), six hours:", style="bold")
    print(stack.issuer.token("comensha", ["reporter"]))
    console.print("\nMore tokens: make token ORGANISATION=politie FUNCTION=reporter. Ctrl-C ends everything.")
    sys.stdout.flush()


def _domain_table(answer: dict[str, Any]) -> Table:
    table = Table(title="Progress per domain", title_justify="left")
    table.add_column("domain", no_wrap=True)
    for name in (
        "recommendations",
        "covered",
        "linked",
        "proposed",
        "no action",
        "fully",
        "no data",
        "actions",
        "stale",
    ):
        table.add_column(name, justify="right")
    for line in answer["lines"]:
        table.add_row(line["name"]["nl"], *_figures(line))
    table.add_section()
    table.add_row("total, each once", *_figures(answer["total"]), style="bold")
    return table


def _figures(line: dict[str, Any]) -> list[str]:
    coverage = line["coverage"]["byClass"]
    found = [
        line["recommendations"],
        coverage["covered"],
        coverage["linked"],
        coverage["proposed only"],
        coverage["no action"],
        line["implementation"]["fully implemented"],
        line["implementation"]["no data"],
        line["actions"]["total"],
        line["stale"],
    ]
    return [str(value) for value in found]


def _partner_table(answer: dict[str, Any]) -> Table:
    table = Table(title="Progress per chain partner", title_justify="left")
    table.add_column("partner", no_wrap=True, max_width=48)
    for name in ("addressed", "no data", "leads", "undecided", "contributes", "stale", "on time"):
        table.add_column(name, justify="right")
    involved = [
        line for line in answer["lines"] if line["addressed"] + line["led"] + line["undecided"] + line["contributing"]
    ]
    for line in sorted(involved, key=lambda line: (-line["addressed"] - line["led"], line["code"])):
        on_time = "no data" if line["onTime"] is None else f"{line['onTime']:.0%}"
        figures = [
            line["addressed"],
            line["implementation"]["no data"],
            line["led"],
            line["undecided"],
            line["contributing"],
            line["stale"],
        ]
        table.add_row(line["name"].get("nl") or line["name"]["en"], *[str(value) for value in figures], on_time)
    others = len(answer["lines"]) - len(involved)
    if others:
        table.caption = f"{others} other partners have no recommendation or action to their name."
    return table


if __name__ == "__main__":
    main()
