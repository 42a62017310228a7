"""Where the data of a study is: in its own folder, where arrays were given in memory, or wherever its user has it."""

import io
from collections.abc import Mapping

import numpy as np

from losstune.trainer.base.errors import UserError
from losstune.trainer.data.column_names import Columns
from losstune.trainer.data.labels import kept_labels
from losstune.trainer.data.npy import Rows
from losstune.trainer.data.pairs import Pairs, load_pairs
from losstune.trainer.data.sources import IN_MEMORY, Source, is_there
from losstune.tuning.storage.study_files import StudyFiles
from losstune.tuning.study.spec import KEPT_DATA
from losstune.tuning.study.study import Study


def keep_arrays(files: StudyFiles, arrays: Mapping[str, Rows]) -> str:
    """Write them to a study's folder, which exists; returns what its spec is to name as its data.

    Text of pandas' and other objects NumPy would write as a pickle, which is never read: such labels are kept as the
    numbers that they count as.
    """
    kept = {
        role: kept_labels(np.asarray(array), role, IN_MEMORY) if array.dtype.kind in "OT" else array
        for role, array in arrays.items()
    }
    buffer = io.BytesIO()
    np.savez(buffer, **kept)  # type: ignore[arg-type]  # NumPy's stub takes a name for its own flag
    files.write(files.folder / KEPT_DATA, buffer.getvalue())
    return KEPT_DATA


def study_pairs(study: Study, data: Source | None = None, columns: Columns = None) -> Pairs:
    """The data of a study, from where it was given or is kept.

    Args:
        data, columns: as a launch gives them again, in place of what the study says.

    Raises:
        UserError: it can not be read any more; where nothing is there now, says how a new place is named.
    """
    columns = study.spec.columns if columns is None else columns
    if data is not None:
        return load_pairs(data, columns, study.spec.settings.rules)
    if study.keeps_data:
        study.files.keep(study.folder / KEPT_DATA)
    try:
        return load_pairs(study.data_source, columns, study.spec.settings.rules)
    except UserError as error:
        if study.keeps_data or is_there(study.data_source):
            raise
        raise UserError(
            f"{error}\nThat is where study {study.spec.name!r} had its data: --data names its new place, where its "
            "content is the same"
        ) from None


def with_data_at(study: Study, pairs: Pairs) -> Study:
    """The study of this data as it goes on where the data was found now; what it keeps itself stays its own."""
    if study.keeps_data or pairs.source == IN_MEMORY:
        return study
    found = {"data_source": pairs.source, "columns": pairs.columns}
    return Study(study.home, study.spec.model_copy(update=found))
