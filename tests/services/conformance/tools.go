//go:build tools

// Package tools names the command that is built: it asks a server for every case of Connect, gRPC-Web and gRPC.
package tools

import _ "connectrpc.com/conformance/cmd/connectconformance"
