"""What mends data that is refused: the option of the command, or the line of Python, that a message ends in."""

WITHOUT_NULLS = "; leave such rows out: frame.dropna(subset=['{}'])"
WITHOUT_INNER_NULLS = "; leave such rows out: frame[[numpy.isfinite(row).all() for row in frame['{}']]]"
OF_ONE_LENGTH = "; leave others out: frame[frame['{}'].map(len) == {}]"
WITHOUT_COLUMN = "; all rows have a column, or none: frame.drop(columns=['{}'])"
AS_A_COLUMN = ": write it as a column, frame.reset_index()"
WHOLE = (
    ": whole numbers of which some are missing are floats in pandas, "
    "frame.dropna(subset=['{0}']).astype({{'{0}': 'int64'}})"
)
UNMASKED = "; leave such rows out: keep = ~numpy.ma.getmaskarray({0}).reshape(len({0}), -1).any(axis=1)"
PADDED = "; fill them up: numpy.pad(row, (0, length - len(row)))"
FINITE = ": keep = (abs({0}) < 3.4e38).reshape(len({0}), -1).all(axis=1)"
LONG_ENOUGH = ": keep = numpy.linalg.norm(targets, axis=1) > 1e-6; where all are short, targets / abs(targets).max()"
SHORT_ENOUGH = (
    ": keep = (numpy.linalg.norm(numpy.float64({0}), axis=-1) < 1e19).reshape(len({0}), -1).all(axis=1); "
    "where all are long, {0} / abs({0}).max()"
)
FLAT = ": save {0}.reshape(len({0}), -1)"
ONE_TARGET = ": name others by --columns ids=NAME, or leave ids out"
ONE_SPLIT = "a target belongs to one split: leave its rows out of the others, or leave split to losstune"
MORE_ROWS = "; give more rows, or a column split: numpy.resize(['train'] * 3 + ['val', 'test'], rows)"
MORE_TARGETS = (
    "; give more of them, or a column split: "
    "numpy.resize(['train', 'val', 'test', 'train', 'train'], {0})[numpy.unique({1}, return_inverse=True)[1]]"
)
FEWER_TIES = ": --split-by ids"
ON_DISK = "; losstune convert, or numpy.save of each array, makes a folder that is trained on from disk"


def another(role: str) -> str:
    """The option that names another column for a role."""
    one = "; one for each row is a list of one, array[:, None]" if role == "negatives" else ""
    return f": another column may be meant, --columns {role}=NAME{one}"
