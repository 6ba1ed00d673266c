// Command grpc_go is gRPC's Go stack as a peer: generated code for typed calls and streams, and for raw payloads, as in the
// Python peers, a codec that passes them through (Documentation/encoding.md of grpc-go). It has the name of protobuf's, in
// whose place it is: other stacks know no other content type.
//
// Only the largest message is set, 4 MiB by default: windows are sized by measuring, TCP_NODELAY is on.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"

	"fastrpc.test/compare/benchpb"
	"fastrpc.test/compare/load"
)

// messageBytes is more than any workload sends.
const messageBytes = 64 * 1024 * 1024

func main() {
	encoding.RegisterCodecV2(rawCodec{encoding.GetCodecV2(proto.Name)})
	load.Main(load.Peer{Serve: servePlain, ServeTLS: serveTLS, Connect: connect, ConnectStreams: connectStreams})
}

func servePlain(listener net.Listener) error {
	return serve(listener)
}

func serveTLS(listener net.Listener, config *tls.Config) error {
	return serve(listener, grpc.Creds(credentials.NewTLS(config)))
}

func serve(listener net.Listener, options ...grpc.ServerOption) error {
	server := grpc.NewServer(append(options, grpc.MaxRecvMsgSize(messageBytes))...)
	server.RegisterService(&rawService, rawServer{})
	benchpb.RegisterTypedServer(server, typedServer{})
	benchpb.RegisterStreamsServer(server, streamsServer{})
	return server.Serve(listener)
}

func dial(order load.Order) (*grpc.ClientConn, error) {
	security := insecure.NewCredentials()
	if order.Authority != "" {
		config, err := order.ClientTLS()
		if err != nil {
			return nil, err
		}
		security = credentials.NewTLS(config)
	}
	return grpc.NewClient(
		order.Address,
		grpc.WithTransportCredentials(security),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(messageBytes)),
	)
}

func connectStreams(order load.Order) (load.Streams, error) {
	connection, err := dial(order)
	return streams{benchpb.NewStreamsClient(connection), order.PayloadBytes}, err
}

func connect(order load.Order) (load.Operation, error) {
	connection, err := dial(order)
	if err != nil {
		return load.Operation{}, err
	}
	typed := benchpb.NewTypedClient(connection)
	switch order.Operation {
	case "echo":
		return echo(connection, bytes.Repeat([]byte("x"), order.PayloadBytes)), nil
	case "mul":
		return mul(typed), nil
	case "record":
		return echoRecord(typed, order.Record), nil
	}
	return load.Operation{}, fmt.Errorf("no operation %s", order.Operation)
}

func echo(connection *grpc.ClientConn, payload []byte) load.Operation {
	call := func() ([]byte, error) {
		var answer []byte
		err := connection.Invoke(context.Background(), "/bench.Raw/Echo", &payload, &answer)
		return answer, err
	}
	return load.NewOperation(call, func(answer []byte) bool { return bytes.Equal(answer, payload) })
}

func mul(client benchpb.TypedClient) load.Operation {
	call := func() (*benchpb.Product, error) {
		return client.Mul(context.Background(), &benchpb.Factors{A: 6, B: 7})
	}
	return load.NewOperation(call, func(product *benchpb.Product) bool { return product.Value == 42 })
}

func echoRecord(client benchpb.TypedClient, values load.Record) load.Operation {
	call := func() (*benchpb.Record, error) {
		record := &benchpb.Record{
			Id:    values.ID,
			Name:  values.Name,
			Score: values.Score,
			Tags:  append([]string(nil), values.Tags...),
		}
		return client.Echo(context.Background(), record)
	}
	return load.NewOperation(call, func(record *benchpb.Record) bool {
		return values.Equal(record.Id, record.Name, record.Score, record.Tags)
	})
}

type typedServer struct {
	benchpb.UnimplementedTypedServer
}

func (typedServer) Mul(_ context.Context, factors *benchpb.Factors) (*benchpb.Product, error) {
	return &benchpb.Product{Value: factors.A * factors.B}, nil
}

func (typedServer) Echo(_ context.Context, record *benchpb.Record) (*benchpb.Record, error) {
	return record, nil
}

// rawCodec passes payloads through as they are, and messages to the codec of protobuf.
type rawCodec struct {
	encoding.CodecV2
}

func (codec rawCodec) Marshal(value any) (mem.BufferSlice, error) {
	if payload, isRaw := value.(*[]byte); isRaw {
		return mem.BufferSlice{mem.SliceBuffer(*payload)}, nil
	}
	return codec.CodecV2.Marshal(value)
}

func (codec rawCodec) Unmarshal(data mem.BufferSlice, value any) error {
	if payload, isRaw := value.(*[]byte); isRaw {
		*payload = data.Materialize()
		return nil
	}
	return codec.CodecV2.Unmarshal(data, value)
}

type rawServer struct{}

var rawService = grpc.ServiceDesc{
	ServiceName: "bench.Raw",
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Echo", Handler: echoRaw}},
}

func echoRaw(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	var payload []byte
	if err := decode(&payload); err != nil {
		return nil, err
	}
	return &payload, nil
}
