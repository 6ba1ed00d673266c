from typing import Any
Interceptor = Any
Proceed = Any
