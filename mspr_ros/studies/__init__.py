"""Questions about the method, each answered by a command: `mspr study NAME -o OUT`.

A study is one module of this package, named in `STUDIES`. It imports nothing heavy at its top
(`mspr study --help` imports all of them) and has:

    QUESTION: str                                  what it answers, one line
    def add_arguments(parser) -> None              options of its own, beside the common ones
    def plan(setting: Setting) -> list[Cell]       what is to be trained and measured
    def conclude(setting: Setting, results: list[CellResult]) -> Conclusion

`plan` makes or names its datasets (`places.py`: the ones given, else the simulator's) and gives
cells: a name, the factors that tell it from others, a seed, a `TrainConfig` or None, and a
function `measure(run: Path) -> dict` that is called once the cell's network stands in
`run/bundle` (where nothing is trained, `run` is an empty folder) and gives JSON-ready values.
`measuring.measure_bundle` gives every test frame's errors. `total_images` is not the plan's to
choose: the runner measures how fast each shape of network trains here and shares the budget out
equally, times `Cell.share`. Seeds come outermost, so that a study broken off has whole seeds.

The runner (`runner.run_study`) writes OUT/plan.json (sizes; the same command goes on with them),
OUT/cells/NAME.json as each cell finishes, and at the end OUT/result.json, OUT/table.md and
OUT/plot.png. `conclude` gets the results in the plan's order and says what was found:
`paired.paired_ratio` gives a difference with an interval over seeds and blocks of test frames.
"""

from __future__ import annotations

# Name on the command line -> module in this package.
STUDIES: dict[str, str] = {
    "ablation": "ablation",
    "scenes": "scenes",
    "label-noise": "label_noise",
    "transfer": "transfer",
    "first": "first",
    "clusters": "clusters",
    "features": "features",
}
