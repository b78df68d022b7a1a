"""``secondlook import``, ``export``, ``detect`` and ``snapshot``: data in, data out."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from cluster.console import out, print_json, print_table, progress, when
from cluster.context import JsonOption, engineer, settings_of, settings_to_read
from cluster.exporting import export_dataset
from cluster.importing import ImportAs, ImportReport, import_dataset
from cluster.service_address import find_service
from cluster.techfile_gathering import find_operator_file, read_operator
from loop.croissant import croissant
from loop.errors import Conflict, InvalidInput, NotFound, Unavailable
from loop.snapshots import Labels, SnapshotRecord
from store.formats import Format
from store.own_key import api_headers
from store.unit_of_work import open_units_of_work

snapshots = typer.Typer(help="Frozen data sets of annotations.", no_args_is_help=True)

FormatOption = Annotated[Format, typer.Option("--format", help="The data set's format.")]
SubjectOption = Annotated[
    str, typer.Option(help="Regular expression: group 1 in an image's name is its subject.")
]
OnlyOption = Annotated[
    Path | None, typer.Option(help="A file of image names, one a line: import only these.")
]
AllowTrainedOption = Annotated[
    bool, typer.Option("--allow-trained", help="Take gold images that models may know, as noted.")
]
# Detection on a busy CPU, with the request's way there and back.
_DETECT_SECONDS = 60.0


def add_to(app: typer.Typer) -> None:
    app.command("import")(import_)
    app.command()(export)
    app.command()(detect)
    app.add_typer(snapshots, name="snapshot")


def import_(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="The data set's folder (or COCO's JSON file).")],
    format: FormatOption,
    import_as: Annotated[
        ImportAs, typer.Option("--as", help="Its boxes are true, or wait for review.")
    ] = ImportAs.TRUTH,
    subject_pattern: SubjectOption = "",
    gold: Annotated[
        bool, typer.Option("--gold", help="Freeze these images into the gold set.")
    ] = False,
    only: OnlyOption = None,
    allow_trained: AllowTrainedOption = False,
    json: JsonOption = False,
) -> None:
    """Bring in an existing data set. What cannot be used is listed with its reason."""
    settings = settings_of(context)
    with progress(f"Importing {path.name}") as step:
        report = import_dataset(
            settings,
            path,
            format,
            import_as=import_as,
            gold=gold,
            subject_pattern=subject_pattern,
            only=only,
            actor=engineer(settings),
            progress=step,
            allow_trained=allow_trained,
        )
    if json:
        print_json(report.as_dict())
    else:
        _show_report(report)
    if report.images + report.unchanged == 0:
        raise typer.Exit(1)


def export(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    format: FormatOption,
    json: JsonOption = False,
) -> None:
    """Write every annotated image and its boxes as a data set that other tools read."""
    settings = settings_to_read(context)
    with progress(f"Exporting to {folder}") as step:
        actor = engineer(settings)
        images, boxes = export_dataset(settings, folder, format, step, actor=actor)
    if json:
        print_json({"folder": str(folder), "images": images, "boxes": boxes})
    else:
        out.print(f"{images} images with {boxes} boxes are in {folder}.")


def detect(
    context: typer.Context,
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    queue: Annotated[
        bool, typer.Option("--queue", help="Store them and put them up for review.")
    ] = False,
    key: Annotated[
        str, typer.Option(help="An API key. Default: SECONDLOOK_API_KEY, or this home's own.")
    ] = "",
    json: JsonOption = False,
) -> None:
    """Send images to the running service and show what it sees."""
    settings = settings_of(context)
    service = find_service(settings)
    api_url = service.api_url if service else settings.api_url
    headers = {"authorization": f"Bearer {key}"} if key else api_headers(settings)
    answers = []
    for path in images:
        if not path.is_file():
            raise InvalidInput(f"There is no file {path}.")
        answers.append(_post(f"{api_url}/v1/{'images' if queue else 'detect'}", path, headers))
    if json:
        print_json([{"file": str(p), **a} for p, a in zip(images, answers, strict=True)])
        return
    for path, answer in zip(images, answers, strict=True):
        print_table(
            f"{path} ({answer['width']}x{answer['height']}), model version "
            f"{answer['model']['version']}",
            ["class", "confidence", "x1", "y1", "x2", "y2"],
            [
                (d["class_name"], f"{d['confidence']:.2f}", *(f"{edge:.1f}" for edge in d["box"]))
                for d in answer["detections"]
            ],
        )


@snapshots.command("create")
def create(
    labels: Annotated[Labels, typer.Option(help="Whose answers.")] = Labels.ADJUDICATED,
    json: JsonOption = False,
) -> None:
    """Freeze the annotations into Parquet shards, under DVC, in this workspace."""
    from store.workspace import Workspace

    prefix = "" if labels is Labels.ADJUDICATED else f"{labels.value}_"
    workspace = Workspace(Path.cwd())
    workspace.repro([f"{prefix}data_collection"])
    rev = workspace.commit(f"Snapshot of {labels.value} labels")
    if json:
        print_json({"dvc_rev": rev})
    else:
        out.print(f"Committed as {rev[:12]}.", highlight=False)


@snapshots.command("list")
def list_(context: typer.Context, json: JsonOption = False) -> None:
    """Every snapshot that was created here, oldest first."""
    with open_units_of_work(settings_to_read(context))() as uow:
        records = uow.snapshots.list()
    if json:
        print_json([_record_dict(record) for record in records])
        return
    print_table(
        "Snapshots",
        ["digest", "labels", "images", "boxes", "created"],
        [
            (
                record.sha256[:12],
                record.manifest.labels,
                record.manifest.counts["images"],
                record.manifest.counts["boxes"],
                when(record.created_at),
            )
            for record in records
        ],
    )


@snapshots.command("show")
def show(
    context: typer.Context,
    digest: Annotated[str, typer.Argument(help="Its SHA-256, or the beginning of it.")],
    json: JsonOption = False,
) -> None:
    """One snapshot: its classes, counts and shards."""
    with open_units_of_work(settings_to_read(context))() as uow:
        record = uow.snapshots.get(digest)
    if json:
        print_json(_record_dict(record))
    else:
        out.print_json(data=_record_dict(record))


@snapshots.command("diff")
def diff(
    context: typer.Context,
    before: Annotated[str, typer.Argument(help="A digest, or the beginning of it.")],
    after: Annotated[str, typer.Argument(help="Another.")],
    json: JsonOption = False,
) -> None:
    """What a snapshot has that an earlier one had not."""
    with open_units_of_work(settings_to_read(context))() as uow:
        old, new = uow.snapshots.get(before), uow.snapshots.get(after)
    names = sorted(set(old.manifest.counts) | set(new.manifest.counts))
    rows = [(name, old.manifest.counts.get(name), new.manifest.counts.get(name)) for name in names]
    shards = _paths(new) - _paths(old)
    if json:
        counts = {name: {"before": b, "after": a} for name, b, a in rows}
        print_json({"counts": counts, "new_shards": sorted(shards)})
        return
    print_table(
        f"{old.sha256[:12]} to {new.sha256[:12]}",
        ["", "before", "after"],
        [*rows, ("new shards", "", len(shards))],
    )


@snapshots.command("croissant")
def describe(
    context: typer.Context,
    digest: Annotated[
        str, typer.Argument(metavar="[ID]", help="Its SHA-256, or the beginning. Default: newest.")
    ] = "",
    file: Annotated[
        Path | None, typer.Option("--out", help="A new file. Default: standard output.")
    ] = None,
    operator: Annotated[
        Path | None, typer.Option(help="The techfile.yaml that names creator and licence.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Describe a snapshot in Croissant (JSON-LD), which tools for data sets read."""
    settings = settings_to_read(context)
    with open_units_of_work(settings)() as uow:
        records = uow.snapshots.list() if not digest else [uow.snapshots.get(digest)]
    if not records:
        raise NotFound("There is no snapshot yet.", hint="secondlook snapshot create")
    said = read_operator(operator or find_operator_file([Path.cwd(), settings.home]))
    described = croissant(records[-1], said.answers)
    if file is None:
        print_json(described)
        return
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(dumps(described, indent=2, ensure_ascii=False) + "\n")
    except FileExistsError:
        raise Conflict(f"{file} is there already.", hint="Name a new file.") from None
    if json:
        print_json({"file": str(file), "snapshot_sha256": records[-1].sha256})
    else:
        out.print(f"Snapshot {records[-1].sha256[:12]} is described in {file}.", highlight=False)


def _post(url: str, path: Path, headers: dict[str, str]) -> dict[str, Any]:
    try:
        response = httpx.post(
            url,
            content=path.read_bytes(),
            headers={"content-type": "application/octet-stream", **headers},
            timeout=_DETECT_SECONDS,
        )
    except httpx.HTTPError as error:
        raise Unavailable(
            f"The detection API does not answer at {url}: {error}.",
            hint="Start it: secondlook up",
        ) from error
    body: dict[str, Any] = response.json()
    if response.is_error:
        problem = response.json()["error"]
        raise InvalidInput(
            f"{path}: {problem['message']}", hint=problem["hint"], code=problem["code"]
        )
    return body


def _show_report(report: ImportReport) -> None:
    subjects = "1 subject" if len(report.subjects) == 1 else f"{len(report.subjects)} subjects"
    out.print(
        f"{report.images} images with {report.boxes} boxes of {subjects} came in; "
        f"{report.unchanged} were here already."
    )
    if report.images > 1 and len(report.subjects) == 1:
        out.print(
            "Images of one subject are never split into folds. If these are of several, begin "
            "again in a new home, with another --subject-pattern."
        )
    print_table("Not imported, or not as it was", ["file", "reason"], report.problems)


def _record_dict(record: SnapshotRecord) -> dict[str, object]:
    return {
        "sha256": record.sha256,
        "created_at": record.created_at,
        "created_by": record.created_by,
        **record.manifest.as_dict(),
    }


def _paths(record: SnapshotRecord) -> set[str]:
    return {
        shard.path for shard in (*record.manifest.image_shards, *record.manifest.annotation_shards)
    }
