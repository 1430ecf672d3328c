"""No module but files.py writes to the path of an output: a full disk leaves the old file whole."""

import ast
from pathlib import Path

import pytest

import rllib_vlm_reward

PACKAGE = Path(rllib_vlm_reward.__file__).parent
WHOLE = {"replaced_file", "BytesIO"}  # what they give may be written to
# What writes to a path, by the name under which it is called.
PATH_METHODS = {"open", "write_text", "write_bytes", "touch", "rename", "replace"}
FUNCTIONS = {
    *("save", "savez", "savez_compressed", "savetxt", "tofile", "memmap", "dump", "save_file"),
    *("savefig", "imwrite", "mimwrite", "mimsave", "to_csv", "to_json", "to_parquet", "to_pickle"),
    *("write_table", "write_csv", "write_feather", "ParquetWriter", "SummaryWriter"),
    *("save_to_path", "copy2", "copyfile", "copytree", "move", "fdopen"),
}
OURS = "a save() of this package, which is searched too"
RLLIB = "RLlib writes a folder"
EXCEPTIONS = {
    "cli/calibrate.py calibrate_command": OURS,
    "cli/collect.py collect_command": OURS,
    "cli/evaluate.py _evaluate": OURS,
    "cli/evaluate.py _play": OURS,
    "sweep/search.py search": OURS,
    "pretraining/training.py _optimise": OURS,
    "connectors/goal_embedding.py save_to_path": RLLIB,
    "run/run_folder.py save_checkpoint": f"{RLLIB}, which is renamed when it is complete",
    "run/run_folder.py _finish_save": "renames such folders",
    "run/run_folder.py _open": "TensorBoard appends to a new file each time",
    "sweep/trial.py save_checkpoint": f"{RLLIB} of Tune's, which keeps the ones that are complete",
    "offline/folder.py _flush": "the writer of a file that replaced_file gave",
    "pretraining/captioned_folder.py _read": "work, which each training reads anew",
    "pretraining/recorded_play.py _opened": "work; frames without a line of captions are cut",
    "pretraining/recorded_play.py _write_line": "work; half a line is cut",
}


def scopes(body):
    """Yield the functions and methods of a module, and the statements outside of them."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from scopes(node.body)
        else:
            yield node


def names_of(node):
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def called(call):
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def is_whole(node):
    return any(called(each) in WHOLE for each in ast.walk(node) if isinstance(each, ast.Call))


def bound(scope):
    """Return the names of a scope that hold what may be written to."""
    pairs = []
    for node in ast.walk(scope):
        if isinstance(node, ast.With):
            pairs += [(item.optional_vars, item.context_expr) for item in node.items]
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            pairs += zip(getattr(node.targets[0], "elts", ()), node.value.elts, strict=False)
        elif isinstance(node, ast.Assign):
            pairs.append((node.targets[0], node.value))
    names = [names_of(target) for target, value in pairs if target and is_whole(value)]
    return set().union(*names)


def writes(call):
    """Return what a call writes to: its arguments, or the path whose method it is; else None."""
    name, arguments = called(call), [*call.args, *(each.value for each in call.keywords)]
    texts = [each.value for each in arguments if isinstance(each, ast.Constant)]
    modes = [text for text in texts if isinstance(text, str) and {*text} <= {*"rwaxbt+"}]
    is_of_os = names_of(call.func) == {"os"}
    reads = name in ("open", "memmap") and not is_of_os and not {*"wax+"} & {*"".join(modes)}
    replaces_path = is_of_os or (len(call.args) == 1 and not call.keywords)
    is_text = name == "replace" and not replaces_path
    is_ours = name == "write_text" and isinstance(call.func, ast.Name)
    to_text = name == "dump" and len(call.args) < 2
    if reads or is_text or is_ours or to_text:
        return None
    if name in PATH_METHODS and isinstance(call.func, ast.Attribute):
        return [call.func.value, *arguments]
    return arguments if name in FUNCTIONS | {"open"} else None


def careless(source):
    """Yield the function and line of each call that writes to a path."""
    for scope in scopes(ast.parse(source).body):
        whole = bound(scope)
        for call in ast.walk(scope):
            places = writes(call) if isinstance(call, ast.Call) else None
            if places is not None and not any(whole & names_of(place) for place in places):
                yield getattr(scope, "name", ""), call.lineno


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("open(path, 'w')", True),
        ("open(path, mode='ab')", True),
        ("path.open('r+b')", True),
        ("path.write_text('a')", True),
        ("path.rename(other)", True),
        ("os.replace(other, path)", True),
        ("image.save(path)", True),
        ("figure.savefig(folder / 'a.png')", True),
        ("yaml.dump(settings, file)", True),
        ("np.memmap(path, np.uint8, 'w+')", True),
        ("with replaced_file(path) as fresh: image.save(path)", True),
        ("with replaced_file(path) as fresh: image.save(fresh, 'PNG')", False),
        ("with replaced_file(path) as fresh, fresh.open('w') as file: pass", False),
        ("image, buffer = drawn(), BytesIO(); image.save(buffer)", False),
        ("image, buffer = drawn(), BytesIO(); image.save(path)", True),
        ("write_text(path, 'a')", False),
        ("open(path)", False),
        ("path.open('rb')", False),
        ("np.memmap(path, np.uint8, 'r')", False),
        ("text.replace('a', 'b')", False),
        ("dataclasses.replace(value, low=0)", False),
        ("yaml.dump(settings)", False),
    ],
)
def test_a_careless_line_is_found(line, found):
    assert [*careless(f"def run():\n    {line}")] == [("run", 2)] * found


def test_only_files_py_writes_to_the_path_of_an_output():
    found = {}
    for path in {*PACKAGE.rglob("*.py")} - {PACKAGE / "files.py"}:
        name = path.relative_to(PACKAGE).as_posix()
        for function, line in careless(path.read_text(encoding="utf-8")):
            found.setdefault(f"{name} {function}", []).append(line)
    assert {place: found[place] for place in found.keys() - EXCEPTIONS.keys()} == {}
    assert EXCEPTIONS.keys() <= found.keys()
