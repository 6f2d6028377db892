"""The commands of ``rllib`` that look into an agent."""

from __future__ import annotations

from typing import Annotated

import typer

from rllib_rnd.cli.app import app
from rllib_rnd.cli.runtime import reports_errors


@app.command()
@reports_errors
def explain(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint, trial or experiment folder.")],
    out: Annotated[str, typer.Option(metavar="FOLDER", help="Where to: a new folder, or an earlier gallery.")],
    baseline: Annotated[
        str | None, typer.Option(metavar="CHECKPOINT", help="Another agent that looks at the same states.")
    ] = None,
    episodes: Annotated[int | None, typer.Option(help="Episodes that are played; default: 1.", min=1)] = None,
    tape: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="An episode that was played before (.npz); may be repeated."),
    ] = None,
    states: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Observations (.npy, .npz, patterns); may be repeated.")
    ] = None,
    video: Annotated[bool, typer.Option("--video", help="Also an MP4 of the episodes with maps laid over.")] = False,
    video_methods: Annotated[
        str | None,
        typer.Option(metavar="NAME,NAME", help="Whose maps the video has; default: what suits the backbone."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A little of everything, in under a minute.")] = False,
    seed: Annotated[int, typer.Option(help="Of the first episode, untrained weights, and what is random.", min=0)] = 0,
    methods: Annotated[
        str | None, typer.Option(metavar="NAME,NAME", help="Only these methods, see docs/insight.md.")
    ] = None,
    targets: Annotated[
        str | None, typer.Option(metavar="NAME,NAME", help="Only saliency of these, e.g. action,intrinsic_reward.")
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Layer of the backbone that Grad-CAM looks into; default: the last."),
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option(help="Agent steps after which an episode is cut; default: 4500, quick 400.", min=1)
    ] = None,
    num_states: Annotated[
        int | None, typer.Option(help="States that are looked into; default: 12, quick 4.", min=1, max=64)
    ] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic/--sampled", help="Most likely actions, or draws from the policy.")
    ] = False,
    projection: Annotated[str, typer.Option(help="Of features: pca, or tsne.")] = "pca",
) -> None:
    """Show what an agent attends to, with controls: an HTML gallery, PNG grids and videos."""
    from rllib_rnd.cli.explain import ExplainOptions
    from rllib_rnd.cli.explain import explain as run

    options = ExplainOptions(
        out=out,
        baseline=baseline,
        episodes=episodes,
        tape=tuple(tape or ()),
        states=tuple(states or ()),
        video=video,
        video_methods=video_methods,
        quick=quick,
        seed=seed,
        methods=methods,
        targets=targets,
        layer=layer,
        max_steps=max_steps,
        num_states=num_states,
        deterministic=deterministic,
        projection=projection,
    )
    run(checkpoint, options)


@app.command("probe")
@reports_errors
def probe_(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint, trial or experiment folder.")],
    baseline: Annotated[
        str, typer.Option(help="untrained (the same networks, weights drawn anew), none, or another checkpoint.")
    ] = "untrained",
    episodes: Annotated[int | None, typer.Option(help="Games to play; default: 36 or more, quick: 24.", min=1)] = None,
    steps: Annotated[
        int | None, typer.Option(help="Agent steps after which a game is cut; default: 500, quick: 200.", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of games, splits, probes and intervals.", min=0)] = 0,
    variables: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="What to predict; default: all that is told, 12 at most.")
    ] = None,
    layers: Annotated[str | None, typer.Option(metavar="A,B,...", help="What to read; default: all layers.")] = None,
    out: Annotated[str | None, typer.Option(metavar="FOLDER", help="Where to; default: <run name>_probe.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Less of everything, linear probes only.")] = False,
    mlflow: Annotated[
        bool, typer.Option("--mlflow/--no-mlflow", help="Write the scores to the run's own MLflow run.")
    ] = True,
) -> None:
    """Measure what features know of the state (positions, rooms, ages): probes per layer, with controls."""
    from rllib_rnd.cli.probe import ProbeCommand, run_probe

    run_probe(checkpoint, ProbeCommand(baseline, episodes, steps, seed, variables, layers, out, quick, mlflow))
