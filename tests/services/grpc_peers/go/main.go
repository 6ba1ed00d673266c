// Sums by connect-go: `client ADDRESS PROTOCOL` calls them and prints what it got, `server` serves them at a port that it prints.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"connectrpc.com/connect"
	number "google.golang.org/protobuf/types/known/wrapperspb"
)

const service = "/shop.v1.Sums/"

type client = connect.Client[number.Int64Value, number.Int64Value]

// plain is HTTP/2 without TLS, and without the upgrade from HTTP/1.1.
func plain() *http.Protocols {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return protocols
}

func main() {
	if os.Args[1] == "server" {
		serve()
		return
	}
	options := map[string][]connect.ClientOption{
		"grpc":     {connect.WithGRPC()},
		"grpc_web": {connect.WithGRPCWeb()},
		"connect":  {},
		"gzip":     {connect.WithGRPC(), connect.WithSendGzip()},
	}[os.Args[3]]
	transport := &http.Client{Transport: &http.Transport{Protocols: plain()}}
	method := func(name string) *client {
		return connect.NewClient[number.Int64Value, number.Int64Value](transport, "http://"+os.Args[2]+service+name, options...)
	}
	found, err := call(method)
	if err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		log.Fatal(err)
	}
}

func call(method func(string) *client) (map[string]any, error) {
	background, found := context.Background(), map[string]any{}
	twice, err := method("Twice").CallUnary(background, connect.NewRequest(number.Int64(1<<40)))
	if err != nil {
		return nil, err
	}
	found["twice"] = twice.Msg.Value
	numbers, err := method("UpTo").CallServerStream(background, connect.NewRequest(number.Int64(3)))
	if err != nil {
		return nil, err
	}
	upTo := []int64{}
	for numbers.Receive() {
		upTo = append(upTo, numbers.Msg().Value)
	}
	if err := numbers.Err(); err != nil {
		return nil, err
	}
	found["up_to"] = upTo
	adding := method("Total").CallClientStream(background)
	for _, value := range []int64{1, 2, 3} {
		if err := adding.Send(number.Int64(value)); err != nil {
			return nil, err
		}
	}
	total, err := adding.CloseAndReceive()
	if err != nil {
		return nil, err
	}
	found["total"] = total.Msg.Value
	running, talk := []int64{}, method("Running").CallBidiStream(background)
	for _, value := range []int64{1, 2, 3} {
		if err := talk.Send(number.Int64(value)); err != nil {
			return nil, err
		}
		answer, err := talk.Receive()
		if err != nil {
			return nil, err
		}
		running = append(running, answer.Value)
	}
	if err := errors.Join(talk.CloseRequest(), talk.CloseResponse()); err != nil {
		return nil, err
	}
	found["running"] = running
	var failed *connect.Error
	if _, err = method("Fail").CallUnary(background, connect.NewRequest(number.Int64(1))); !errors.As(err, &failed) {
		return nil, fmt.Errorf("Fail: %v", err)
	}
	found["fail"] = []any{uint32(failed.Code()), failed.Message()}
	short, cancel := context.WithTimeout(background, 300*time.Millisecond)
	defer cancel()
	_, err = method("Wait").CallUnary(short, connect.NewRequest(number.Int64(1)))
	found["wait"] = uint32(connect.CodeOf(err))
	asked := connect.NewRequest(number.Int64(1))
	asked.Header().Set("key", "value")
	seen, err := method("Seen").CallUnary(background, asked)
	if err != nil {
		return nil, err
	}
	found["seen"] = seen.Header().Get("seen") + seen.Trailer().Get("seen")
	return found, nil
}

func serve() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("serving at %s\n", listener.Addr())
	log.Fatal((&http.Server{Handler: handlers(), Protocols: plain()}).Serve(listener))
}

type (
	message  = number.Int64Value
	request  = connect.Request[message]
	response = connect.Response[message]
)

func handlers() *http.ServeMux {
	mux := http.NewServeMux()
	unary := func(name string, function func(context.Context, *request) (*response, error)) {
		mux.Handle(service+name, connect.NewUnaryHandler(service+name, function))
	}
	unary("Twice", func(_ context.Context, asked *request) (*response, error) {
		return connect.NewResponse(number.Int64(2 * asked.Msg.Value)), nil
	})
	unary("Fail", func(context.Context, *request) (*response, error) {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("grün"))
	})
	unary("Wait", func(ctx context.Context, _ *request) (*response, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	unary("Seen", func(_ context.Context, asked *request) (*response, error) {
		answer := connect.NewResponse(asked.Msg)
		answer.Trailer().Set("seen", asked.Header().Get("key"))
		return answer, nil
	})
	upTo := func(_ context.Context, asked *request, stream *connect.ServerStream[message]) error {
		for value := int64(1); value <= asked.Msg.Value; value++ {
			if err := stream.Send(number.Int64(value)); err != nil {
				return err
			}
		}
		return nil
	}
	mux.Handle(service+"UpTo", connect.NewServerStreamHandler(service+"UpTo", upTo))
	total := func(_ context.Context, stream *connect.ClientStream[message]) (*response, error) {
		sum := int64(0)
		for stream.Receive() {
			sum += stream.Msg().Value
		}
		return connect.NewResponse(number.Int64(sum)), stream.Err()
	}
	mux.Handle(service+"Total", connect.NewClientStreamHandler(service+"Total", total))
	running := func(_ context.Context, stream *connect.BidiStream[message, message]) error {
		sum := int64(0)
		for {
			asked, err := stream.Receive()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			sum += asked.Value
			if err := stream.Send(number.Int64(sum)); err != nil {
				return err
			}
		}
	}
	mux.Handle(service+"Running", connect.NewBidiStreamHandler(service+"Running", running))
	return mux
}
