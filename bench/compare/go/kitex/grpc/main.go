// Command grpc is kitex as a peer, with gRPC and generated messages. Raw bytes have no codec there.
package main

import (
	"context"
	"fmt"
	"net"

	"github.com/cloudwego/kitex/client"
	"github.com/cloudwego/kitex/pkg/klog"
	"github.com/cloudwego/kitex/server"
	"github.com/cloudwego/kitex/transport"

	"fastrpc.test/compare/kitex/kitex_gen/benchpb"
	"fastrpc.test/compare/kitex/kitex_gen/benchpb/typed"
	"fastrpc.test/compare/load"
)

func main() {
	// Standard output is for the announcement and the measurement.
	klog.SetLevel(klog.LevelError)
	load.Main(load.Peer{Serve: serve, Connect: connect})
}

func serve(listener net.Listener) error {
	return typed.NewServer(&handler{}, server.WithListener(listener)).Run()
}

type handler struct{}

func (*handler) Mul(_ context.Context, factors *benchpb.Factors) (*benchpb.Product, error) {
	return &benchpb.Product{Value: factors.A * factors.B}, nil
}

func (*handler) Echo(_ context.Context, record *benchpb.Record) (*benchpb.Record, error) {
	return record, nil
}

func connect(order load.Order) (load.Operation, error) {
	stub, err := typed.NewClient(
		"bench",
		client.WithHostPorts(order.Address),
		client.WithTransportProtocol(transport.GRPC),
		client.WithGRPCConnPoolSize(1),
	)
	if err != nil {
		return load.Operation{}, err
	}
	switch order.Operation {
	case "mul":
		return mul(stub), nil
	case "record":
		return echoRecord(stub, order.Record), nil
	}
	return load.Operation{}, fmt.Errorf("no operation %s", order.Operation)
}

func mul(stub typed.Client) load.Operation {
	call := func() (*benchpb.Product, error) {
		return stub.Mul(context.Background(), &benchpb.Factors{A: 6, B: 7})
	}
	return load.NewOperation(call, func(product *benchpb.Product) bool { return product.Value == 42 })
}

func echoRecord(stub typed.Client, values load.Record) load.Operation {
	call := func() (*benchpb.Record, error) {
		record := &benchpb.Record{
			Id:    values.ID,
			Name:  values.Name,
			Score: values.Score,
			Tags:  append([]string(nil), values.Tags...),
		}
		return stub.Echo(context.Background(), record)
	}
	return load.NewOperation(call, func(record *benchpb.Record) bool {
		return values.Equal(record.Id, record.Name, record.Score, record.Tags)
	})
}
