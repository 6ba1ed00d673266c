// Command rpcx is rpcx as a peer, with its defaults: raw payloads without a serializer, typed values as protobuf,
// the faster of the serializers that both its client and bench.proto know. The workload of its wire has msgpack.
package main

import (
	"bytes"
	"context"
	"fmt"
	"net"

	"github.com/smallnest/rpcx/client"
	"github.com/smallnest/rpcx/protocol"
	"github.com/smallnest/rpcx/server"

	"fastrpc.test/compare/benchpb"
	"fastrpc.test/compare/load"
)

func main() {
	load.Main(load.Peer{Serve: serve, Connect: connect})
}

func serve(listener net.Listener) error {
	engine := server.NewServer()
	if err := engine.RegisterName("bench", bench{}, ""); err != nil {
		return err
	}
	if err := engine.RegisterName("Arith", arith{}, ""); err != nil {
		return err
	}
	return engine.ServeListener("tcp", listener)
}

// bench is what the benchmark calls.
type bench struct{}

func (bench) Echo(_ context.Context, payload *[]byte, answer *[]byte) error {
	*answer = *payload
	return nil
}

func (bench) Mul(_ context.Context, factors *benchpb.Factors, product *benchpb.Product) error {
	product.Value = factors.A * factors.B
	return nil
}

func (bench) Record(_ context.Context, record *benchpb.Record, answer *benchpb.Record) error {
	answer.Id, answer.Name, answer.Score, answer.Tags = record.Id, record.Name, record.Score, record.Tags
	return nil
}

// Args and Reply are as in bench/compare/peers/fastrpc_rpcx.py.
type Args struct{ A, B int }

type Reply struct{ C int }

type arith struct{}

func (arith) Mul(_ context.Context, args *Args, reply *Reply) error {
	reply.C = args.A * args.B
	return nil
}

func connect(order load.Order) (load.Operation, error) {
	option := client.DefaultOption
	option.SerializeType = protocol.ProtoBuffer
	switch order.Operation {
	case "echo":
		option.SerializeType = protocol.SerializeNone
	case "rpcx_mul":
		option.SerializeType = protocol.MsgPack
	}
	connection := client.NewClient(option)
	if err := connection.Connect("tcp", order.Address); err != nil {
		return load.Operation{}, err
	}
	switch order.Operation {
	case "echo":
		return echo(connection, bytes.Repeat([]byte("x"), order.PayloadBytes)), nil
	case "mul":
		return mul(connection), nil
	case "record":
		return echoRecord(connection, order.Record), nil
	case "rpcx_mul":
		return callArith(connection), nil
	}
	return load.Operation{}, fmt.Errorf("no operation %s", order.Operation)
}

func echo(connection *client.Client, payload []byte) load.Operation {
	call := func() ([]byte, error) {
		var answer []byte
		err := connection.Call(context.Background(), "bench", "Echo", &payload, &answer)
		return answer, err
	}
	return load.NewOperation(call, func(answer []byte) bool { return bytes.Equal(answer, payload) })
}

func mul(connection *client.Client) load.Operation {
	call := func() (*benchpb.Product, error) {
		product := new(benchpb.Product)
		err := connection.Call(context.Background(), "bench", "Mul", &benchpb.Factors{A: 6, B: 7}, product)
		return product, err
	}
	return load.NewOperation(call, func(product *benchpb.Product) bool { return product.Value == 42 })
}

func echoRecord(connection *client.Client, values load.Record) load.Operation {
	call := func() (*benchpb.Record, error) {
		record := &benchpb.Record{
			Id:    values.ID,
			Name:  values.Name,
			Score: values.Score,
			Tags:  append([]string(nil), values.Tags...),
		}
		answer := new(benchpb.Record)
		err := connection.Call(context.Background(), "bench", "Record", record, answer)
		return answer, err
	}
	return load.NewOperation(call, func(record *benchpb.Record) bool {
		return values.Equal(record.Id, record.Name, record.Score, record.Tags)
	})
}

func callArith(connection *client.Client) load.Operation {
	call := func() (*Reply, error) {
		reply := new(Reply)
		err := connection.Call(context.Background(), "Arith", "Mul", &Args{A: 6, B: 7}, reply)
		return reply, err
	}
	return load.NewOperation(call, func(reply *Reply) bool { return reply.C == 42 })
}
