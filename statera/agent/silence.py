"""Who hangs: what leaves alone one question after the other turns no more. It does not end by itself."""


class Silence:
    """Of one process, the questions in a row that it has left alone."""

    def __init__(self, most: int) -> None:
        """`most`: so many, and it is taken for hung."""
        self._most = most
        self._questions = 0

    @property
    def is_hung(self) -> bool:
        return self._questions >= self._most

    def note(self, *, is_answer: bool) -> None:
        """Note what became of a question."""
        self._questions = 0 if is_answer else self._questions + 1

    def end(self) -> None:
        """Begin anew: it has spoken, or is another one."""
        self._questions = 0
