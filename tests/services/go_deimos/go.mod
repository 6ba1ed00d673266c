module fastrpc/tests/services/go_deimos

go 1.24.5

require github.com/marsevilspirit/deimos-client v0.0.0-20250718064020-467e07dc732a
