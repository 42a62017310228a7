"""The shipped search spaces: YAML files beside this one."""
