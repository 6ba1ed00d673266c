from typing import Any, Generic, TypeVar
T_co = TypeVar("T_co", covariant=True)
class Reply(Generic[T_co]):
    __slots__ = ("_value", "metadata", "endpoint", "attempts", "seconds")
    def __init__(self, value: T_co, *, metadata: Any, endpoint: Any, attempts: int, seconds: float) -> None:
        self._value = value; self.metadata = metadata; self.endpoint = endpoint; self.attempts = attempts; self.seconds = seconds
    @property
    def value(self) -> T_co:
        return self._value
