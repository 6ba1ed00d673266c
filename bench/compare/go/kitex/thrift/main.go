// Command thrift is kitex as a peer, with multiplexed Thrift: all calls on one connection, on both sides.
package main

import (
	"bytes"
	"context"
	"fmt"
	"net"

	"github.com/cloudwego/kitex/client"
	"github.com/cloudwego/kitex/pkg/klog"
	"github.com/cloudwego/kitex/server"

	"fastrpc.test/compare/kitex/kitex_gen/bench"
	service "fastrpc.test/compare/kitex/kitex_gen/bench/bench"
	"fastrpc.test/compare/load"
)

func main() {
	// Standard output is for the announcement and the measurement.
	klog.SetLevel(klog.LevelError)
	load.Main(load.Peer{Serve: serve, Connect: connect})
}

func serve(listener net.Listener) error {
	return service.NewServer(&handler{}, server.WithMuxTransport(), server.WithListener(listener)).Run()
}

type handler struct{}

func (*handler) Echo(_ context.Context, payload []byte) ([]byte, error) {
	return payload, nil
}

func (*handler) Mul(_ context.Context, a, b int64) (int64, error) {
	return a * b, nil
}

func (*handler) Record(_ context.Context, record *bench.Record) (*bench.Record, error) {
	return record, nil
}

func connect(order load.Order) (load.Operation, error) {
	stub, err := service.NewClient("bench", client.WithHostPorts(order.Address), client.WithMuxConnection(1))
	if err != nil {
		return load.Operation{}, err
	}
	switch order.Operation {
	case "echo":
		return echo(stub, bytes.Repeat([]byte("x"), order.PayloadBytes)), nil
	case "mul":
		return mul(stub), nil
	case "record":
		return echoRecord(stub, order.Record), nil
	}
	return load.Operation{}, fmt.Errorf("no operation %s", order.Operation)
}

func echo(stub service.Client, payload []byte) load.Operation {
	call := func() ([]byte, error) { return stub.Echo(context.Background(), payload) }
	return load.NewOperation(call, func(answer []byte) bool { return bytes.Equal(answer, payload) })
}

func mul(stub service.Client) load.Operation {
	call := func() (int64, error) { return stub.Mul(context.Background(), 6, 7) }
	return load.NewOperation(call, func(product int64) bool { return product == 42 })
}

func echoRecord(stub service.Client, values load.Record) load.Operation {
	call := func() (*bench.Record, error) {
		record := &bench.Record{
			Id:    values.ID,
			Name:  values.Name,
			Score: values.Score,
			Tags:  append([]string(nil), values.Tags...),
		}
		return stub.Record(context.Background(), record)
	}
	return load.NewOperation(call, func(record *bench.Record) bool {
		return values.Equal(record.Id, record.Name, record.Score, record.Tags)
	})
}
