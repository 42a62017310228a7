"""The protections behind the promises of docs/reliability.md, and the tests that must notice when one is gone."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Removal:
    """A protection as it stands in the source, what stands there without it, and the tests that must notice.

    Attributes:
        promise: its number in docs/reliability.md.
        protection: what is taken away, in a few words.
        file, old, new: the text replaced, which stands there exactly once.
        tests: arguments of pytest.
    """

    promise: int
    protection: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


REMOVALS: tuple[Removal, ...] = (
    Removal(
        1,
        "what trials had at rungs is known after a restart",
        "tuning/search/rungs.py",
        "                    self._values[epoch][trial.number] = value\n",
        "                    pass\n",
        ("tests/reliability/test_search_machine.py", "tests/tuning/execute/test_asha.py"),
    ),
    Removal(
        1,
        "workers of an older launch can not write",
        "trainer/run/attempt.py",
        "            if newest > self.attempt:",
        "            if False:",
        ("tests/trainer/run/test_attempt.py",),
    ),
    Removal(
        1,
        "a history is synced before its checkpoint",
        "trainer/base/files.py",
        "        stream.write(content)\n        stream.flush()\n        os.fsync(stream.fileno())\n    if created:",
        "        stream.write(content)\n        stream.flush()\n    if created:",
        ("tests/reliability/test_crash_points.py",),
    ),
    Removal(
        2,
        "a trial whose worker died is tried again",
        "tuning/execute/session.py",
        "            max_failures=3,\n",
        "            max_failures=0,\n",
        ("tests/reliability/test_worker_kills.py::test_a_trial_goes_on_when_its_worker_was_killed",),
    ),
    Removal(
        2,
        "a trial without room on its GPU goes on alone",
        "tuning/execute/task_searcher.py",
        'if report is not None and report.end == "memory" and not running.alone:',
        "if False:",
        ("tests/reliability/test_memory.py",),
    ),
    Removal(
        3,
        "a second signal ends the process",
        "trainer/base/signals.py",
        "            self._at_once(signum)\n",
        "            pass\n",
        ("tests/trainer/base/test_signals.py",),
    ),
    Removal(
        3,
        "a launch that does not stop is ended",
        "trainer/base/signals.py",
        "                _end_at_once(heard.signum or 0, why)\n",
        "                pass\n",
        ("tests/trainer/base/test_signals.py",),
    ),
    Removal(
        3,
        "a signal to the launch's group does not reach Ray",
        "tuning/execute/ray_private.py",
        "*arguments, process_group=0, **options",
        "*arguments, **options",
        ("tests/reliability/test_signals_of_a_study.py::test_a_study_goes_on_after_every_kind_of_signal",),
    ),
    Removal(
        3,
        "SIGTERM is the launch's, not Ray's",
        "tuning/execute/ray_private.py",
        "    _UTILS.set_sigterm_handler = lambda handler: None\n    try:\n        yield\n",
        "    yield\n    return\n    try:\n        pass\n",
        ("tests/reliability/test_signals_of_a_study.py::test_a_confirmation_stops_and_goes_on",),
    ),
    Removal(
        3,
        "SIGTERM is the launch's while Ray's library starts",
        "tuning/execute/ray_private.py",
        '"RAY_DISABLE_FAILURE_SIGNAL_HANDLER": True',
        '"RAY_DISABLE_FAILURE_SIGNAL_HANDLER": False',
        (
            "tests/reliability/test_signals_of_a_study.py::"
            "test_a_signal_in_the_instant_in_which_rays_library_has_started",
        ),
    ),
    Removal(
        4,
        "files are synced before they get their name",
        "trainer/base/files.py",
        "            yield stream\n            stream.flush()\n            os.fsync(stream.fileno())\n",
        "            yield stream\n",
        ("tests/reliability/test_crash_points.py",),
    ),
    Removal(
        4,
        "a storage that can not be written ends the search",
        "tuning/execute/task_searcher.py",
        "        except STORAGE_FAILURES as error:\n            self.storage_error",
        "        except ZeroDivisionError as error:\n            self.storage_error",
        ("tests/reliability/test_storage.py::test_a_search_that_can_not_write_the_next_trial_ends_at_once",),
    ),
    Removal(
        4,
        "a trial waits at a rung that can not be saved",
        "tuning/execute/asha.py",
        "TrialScheduler.CONTINUE if self._record(report) else TrialScheduler.NOOP",
        "TrialScheduler.CONTINUE if self._record(report) else TrialScheduler.CONTINUE",
        (
            "tests/tuning/execute/test_search_tasks.py::test_a_trial_does_not_train_on_from_a_rung_that_could_not_be_saved",
        ),
    ),
    Removal(
        4,
        "a database that says nothing is given up",
        "tuning/storage/patient_connection.py",
        "            elif time.monotonic() > heard + SILENT_SECONDS:\n",
        "            elif False:\n",
        ("tests/reliability/test_frozen_database.py::test_whoever_asks_gives_up_and_is_answered_once_it_goes_on",),
    ),
    Removal(
        5,
        "a run that MLflow made twice is removed",
        "tuning/track/logged_runs.py",
        "        self._client.delete_run(run_id)\n",
        "        pass\n",
        ("tests/reliability/test_mlflow_faults.py::test_runs_made_twice_and_strays_go_and_a_users_own_run_stays",),
    ),
    Removal(
        5,
        "an experiment in MLflow's trash is restored",
        "tuning/track/experiment.py",
        "        client.restore_experiment(found.experiment_id)\n",
        "        pass\n",
        ("tests/reliability/test_mlflow_faults.py::test_what_is_deleted_in_mlflow_comes_back_with_its_notes",),
    ),
    Removal(
        5,
        "artifacts of a folder that moved are known where they are",
        "tuning/track/moved.py",
        "    if before == place or Path(before).parts[-2:] != Path(place).parts[-2:]:\n",
        "    if True:\n",
        ("tests/reliability/test_mlflow_faults.py::test_a_folder_that_moved_has_everything_where_it_is",),
    ),
    Removal(
        6,
        "the SHA-256 of a settings file",
        "trainer/base/files.py",
        "    if sealed(body) != text:",
        "    if False:",
        ("tests/trainer/base/test_files.py",),
    ),
    Removal(
        6,
        "the checksum of a line of history",
        "trainer/base/files.py",
        '    return body if crc == f"{zlib.crc32(body)}}}".encode() else None',
        "    return body",
        ("tests/trainer/run/test_run_dir.py",),
    ),
    Removal(
        6,
        "Optuna's storage is compared with the trials' files",
        "tuning/study/audit.py",
        "    if findings:\n",
        "    if False:\n",
        ("tests/tuning/study/test_audit.py",),
    ),
    Removal(
        6,
        "trials that have trained are in the storage",
        "tuning/study/study.py",
        "        if missing:\n            where",
        "        if False:\n            where",
        ("tests/tuning/study/test_audit.py",),
    ),
    Removal(
        6,
        "a run goes on from a checkpoint of its own settings",
        "trainer/run/same_settings.py",
        "    if differing:\n",
        "    if False:\n",
        ("tests/trainer/run/test_run_dir.py",),
    ),
    Removal(
        7,
        "the lock of a study",
        "tuning/storage/lock.py",
        "            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "            pass\n",
        ("tests/tuning/storage/test_lock.py",),
    ),
    Removal(
        8,
        "a number that is not finite ends its trial",
        "trainer/run/loop.py",
        "        if not all(map(math.isfinite, metrics.values())):\n            self.end",
        "        if False:\n            self.end",
        ("tests/trainer/run/test_loop.py",),
    ),
    Removal(
        8,
        "an exception fails its trial alone",
        "tuning/execute/worker.py",
        "        except Exception as error:\n            return self._failed(error).to_result()",
        "        except ZeroDivisionError as error:\n            return self._failed(error).to_result()",
        ("tests/tuning/commands/test_launch.py::test_an_exception_fails_its_trial_alone",),
    ),
    Removal(
        9,
        "other data is refused",
        "tuning/study/continuation.py",
        "    if data_digest != spec.data_digest:\n",
        "    if False:\n",
        ("tests/tuning/study/test_continuation.py",),
    ),
    Removal(
        9,
        "other versions are refused",
        "tuning/study/versions.py",
        "    if differences and not accepted:\n",
        "    if False:\n",
        ("tests/reliability/test_changed.py",),
    ),
    Removal(
        9,
        "data is taken from its new place only where it is said to be the same",
        "tuning/commands/confirm.py",
        "        if pairs.digest != study.spec.data_digest:\n",
        "        if False:\n",
        ("tests/reliability/test_changed.py",),
    ),
    Removal(
        9,
        "code of the user's that changed is told",
        "tuning/study/users_code.py",
        "if before.get(module, digest) != digest]",
        "if False]",
        ("tests/tuning/study/test_users_code.py",),
    ),
    Removal(
        10,
        "Ray listens on loopback",
        "tuning/execute/ray_private.py",
        '"ENABLE_RAY_CLUSTER": False',
        '"ENABLE_RAY_CLUSTER": True',
        ("tests/reliability/test_exposure.py::test_a_launch_opens_ports_on_loopback_only",),
    ),
    Removal(
        10,
        "files are the user's alone",
        "tuning/cli/process.py",
        "    os.umask(0o077)\n",
        "    os.umask(0o022)\n",
        ("tests/reliability/test_exposure.py::test_what_a_launch_writes_is_private",),
    ),
    Removal(
        11,
        "links in a study are refused",
        "tuning/storage/plain_files.py",
        "            if entry.is_symlink():\n",
        "            if False:\n",
        ("tests/reliability/test_hostile.py::test_a_link_out_of_a_study_is_not_followed",),
    ),
    Removal(
        11,
        "no pickle is loaded",
        "trainer/run/checkpoint.py",
        "weights_only=True)",
        "weights_only=False)",
        ("tests/reliability/test_hostile.py::test_no_file_runs_code",),
    ),
    Removal(
        11,
        "passwords are masked",
        "tuning/storage/passwords.py",
        "    text = _FIELD.sub(",
        "    return text\n    text = _FIELD.sub(",
        ("tests/reliability/test_exposure.py::TestPasswords",),
    ),
    Removal(
        12,
        "a launch's temporary folder goes with it",
        "tuning/storage/scratch.py",
        "            yield folder\n    finally:\n        shutil.rmtree(folder, ignore_errors=True)\n",
        "            yield folder\n    finally:\n        pass\n",
        ("tests/reliability/test_exposure.py::test_rays_folder_is_private_and_gone_afterwards",),
    ),
)
