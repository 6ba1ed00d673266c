from typing import Final

MAGIC: Final[bytes]
PREFACE: Final[bytes]
NO_COMMON_VERSION: Final[bytes]
