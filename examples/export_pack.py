"""Take what a live app learned to clients that only read folders: an archive, a Claude plugin, ``.agents/skills`` in place.

    python examples/export_pack.py                          # evolves a small store first (offline), then exports it
    python examples/export_pack.py --store skills.db --namespace acme/eu --out skills-out

Each pack is validated, imported again and compared with what is served; the commands that do the same are printed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from reskill_agents.graphs.live_pack import live_pack
from reskill_agents.pack_diff import diff_packs
from reskill_agents.pack_formats import PackFormat, export_as
from reskill_agents.pack_import import open_pack, problems_of
from reskill_agents.packs import Pack
from reskill_agents.store import LiveStore, StoreSettings

TARGETS = (
    (PackFormat.FOLDER, "pack"),
    (PackFormat.ZIP, "shop-support.zip"),
    (PackFormat.CLAUDE_PLUGIN, "claude-plugin"),
    (PackFormat.CODEX_PLUGIN, "codex-plugin"),
    (PackFormat.AGENTS_SKILLS, "project"),
    (PackFormat.CLAUDE_SKILLS, "other-project"),
)


def evolved_store(path: Path, requests: int) -> LiveStore:
    """A store in which a shop's support agent learned something (``evolve_live.py``)."""
    from evolve_live import simulate

    settings = StoreSettings(redact=None)
    store = LiveStore.open(path, ("shop",), settings=settings)
    simulate(requests, 0, store=store)
    return store


def export_everywhere(pack: Pack, out: Path) -> None:
    """Write every shape, read each back, and say what differs (nothing does)."""
    for form, name in TARGETS:
        written = export_as(pack, out / name, form, name="shop-support")
        problems = problems_of(out / name)
        same = diff_packs(pack, open_pack(out / name).pack).same
        print(f"{form.value:14s} {out / name}: {'; '.join(problems) or 'valid'}, {'same' if same else 'CHANGED'}")
        for note in written.notes:
            print(f"  note: {note}")


def main() -> None:
    """Export a store, or one that is made here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="", help="a live store; default: one is evolved here, offline")
    parser.add_argument("--namespace", default="shop", help="the tenant, its labels joined by '/'")
    parser.add_argument("--requests", type=int, default=700, help="of the store that is evolved here")
    parser.add_argument("--out", type=Path, default=Path("skills-out"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        path = args.store or str(Path(temporary) / "skills.db")
        if args.store:
            store = LiveStore.open(path, tuple(args.namespace.split("/")), settings=StoreSettings(redact=None))
        else:
            store = evolved_store(Path(path), args.requests)
        with store:
            pack = live_pack(store)
    for skill in pack.library:
        lineage = pack.lineage[skill.name]
        proof = ", ".join(f"{key} {value}" for key, value in lineage.evidence.items())
        print(f"{skill.name} (version {lineage.version}): {proof}")
    export_everywhere(pack, args.out)
    print(f"by hand: reskill export {args.store or 'skills.db'} {args.out / 'pack'} --namespace {args.namespace}")
    print(f"         reskill export {args.out / 'pack'} . --to claude-skills")


if __name__ == "__main__":
    main()
