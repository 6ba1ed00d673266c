// Command net_http is Go's standard server of HTTP with encoding/json as a peer. `net_http version` prints the version of Go.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"

	"fastrpc.test/compare/load"
)

// The paths and the text are those of bench/compare/http_load.py.
const hello = "hello, world"

func main() {
	if len(os.Args) == 2 && os.Args[1] == "version" {
		fmt.Println(runtime.Version())
		return
	}
	load.Main(load.Peer{Serve: serve, Connect: connect})
}

func serve(listener net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /bench/record", echoRecord)
	mux.HandleFunc("GET /bench/hello", sayHello)
	return http.Serve(listener, mux)
}

func connect(load.Order) (load.Operation, error) {
	return load.Operation{}, errors.New("bench/compare/c_http.c loads this server")
}

func echoRecord(writer http.ResponseWriter, request *http.Request) {
	var record load.Record
	if err := json.NewDecoder(request.Body).Decode(&record); err != nil {
		http.Error(writer, err.Error(), http.StatusBadRequest)
		return
	}
	answer(writer, record)
}

func sayHello(writer http.ResponseWriter, _ *http.Request) {
	answer(writer, hello)
}

func answer(writer http.ResponseWriter, value any) {
	writer.Header().Set("Content-Type", "application/json")
	// An answer that cannot be written has nobody who waits for it.
	_ = json.NewEncoder(writer).Encode(value)
}
