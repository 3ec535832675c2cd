from __future__ import annotations

import pkgutil
from importlib import resources

import runtide


def test_all_is_the_public_surface() -> None:
    public = {name for name in vars(runtide) if not name.startswith("_")}
    # `run` is answered by __getattr__; the others come with imports that the annotations need.
    imported = {"annotations", "Mapping", "datetime", "TYPE_CHECKING", "Any"}
    assert public - imported == set(runtide.__all__) - {"run", "__version__"}
    for name in runtide.__all__:
        assert hasattr(runtide, name), name


def test_modules_are_private_and_typed() -> None:
    modules = [module.name for module in pkgutil.iter_modules(runtide.__path__)]
    assert modules
    assert all(name.startswith("_") for name in modules)
    assert resources.files(runtide).joinpath("py.typed").is_file()


def test_every_error_is_a_runtide_error() -> None:
    for error in (runtide.ConfigurationError, runtide.UnreachableError, runtide.ServerError):
        assert issubclass(error, runtide.RuntideError)
