package load

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
)

// Peer is one stack: how it serves and how it calls.
type Peer struct {
	// Serve answers connections of the listener until that fails.
	Serve func(net.Listener) error
	// ServeTLS does so over TLS; nil where the peer is measured without.
	ServeTLS func(net.Listener, *tls.Config) error
	// Connect returns the ordered operation, shared by all callers.
	Connect func(Order) (Operation, error)
	// ConnectStreams returns the streams of a connection; nil where the stack has none.
	ConnectStreams func(Order) (Streams, error)
}

// Main runs the side that the command line names and ends the process:
//
//	serve [CERT KEY]  prints {"address": …, "processes": [id]} and ends with its standard input
//	load ORDER        prints the measurement as JSON
func Main(peer Peer) {
	// Each side has one core to itself: more threads that run Go code would only take turns on it.
	runtime.GOMAXPROCS(1)
	if err := run(peer, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(peer Peer, arguments []string) error {
	switch {
	case len(arguments) == 1 && arguments[0] == "serve":
		return serve(peer.Serve)
	case len(arguments) == 3 && arguments[0] == "serve" && peer.ServeTLS != nil:
		config, err := serverTLS(arguments[1], arguments[2])
		if err != nil {
			return err
		}
		return serve(func(listener net.Listener) error { return peer.ServeTLS(listener, config) })
	case len(arguments) == 2 && arguments[0] == "load":
		return load(peer, arguments[1])
	}
	return errors.New("usage: serve [CERT KEY] | load ORDER")
}

func serve(answer func(net.Listener) error) error {
	// Go sets TCP_NODELAY on every connection by itself, see net.TCPConn.SetNoDelay.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	failed := make(chan error)
	go func() { failed <- answer(listener) }()
	announcement := map[string]any{"address": listener.Addr().String(), "processes": []int{os.Getpid()}}
	if err := json.NewEncoder(os.Stdout).Encode(announcement); err != nil {
		return err
	}
	ended := make(chan error)
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		ended <- err
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("the server ended: %w", err)
	case err := <-ended:
		return err
	}
}

func load(peer Peer, text string) error {
	var order Order
	if err := json.Unmarshal([]byte(text), &order); err != nil {
		return err
	}
	measurement, err := connectAndDrive(peer, order)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(measurement)
}

func connectAndDrive(peer Peer, order Order) (Measurement, error) {
	if order.IsStream() && peer.ConnectStreams != nil {
		streams, err := peer.ConnectStreams(order)
		if err != nil {
			return Measurement{}, err
		}
		return DriveStream(order, streams)
	}
	operation, err := peer.Connect(order)
	if err != nil {
		return Measurement{}, err
	}
	return Drive(order, operation)
}
