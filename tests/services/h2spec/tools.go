//go:build tools

// Package tools names the commands that are built: h2spec asks a server, h2specd a client.
package tools

import (
	_ "github.com/summerwind/h2spec/cmd/h2spec"
	_ "github.com/summerwind/h2spec/cmd/h2specd"
)
