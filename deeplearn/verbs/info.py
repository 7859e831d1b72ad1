"""`deeplearn info`: versions, devices, settings and folders."""

from dataclasses import dataclass

from deeplearn.flags import before_jax, parse


def main(words: list[str]) -> None:
    @dataclass(frozen=True)
    class Info:
        pass

    parse(Info, words, verb="info", about="Versions, devices, settings and folders: what to put into a bug report.")
    before_jax()
    from deeplearn.data.package import cache
    from deeplearn.record.environment import environment, facts

    for name, value in [*facts(environment()), ("data cache", str(cache()))]:
        print(f"{name:18} {value}")
