package main

import (
	"bytes"
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"

	"fastrpc.test/compare/benchpb"
	"fastrpc.test/compare/load"
)

// streams are those of one connection, through generated code.
type streams struct {
	client       benchpb.StreamsClient
	payloadBytes int
}

func (streams streams) Receive(count int64) (load.Next, func(), error) {
	ctx, leave := context.WithCancel(context.Background())
	order := &benchpb.Order{Count: count, Size: int64(streams.payloadBytes)}
	stream, err := streams.client.Receive(ctx, order)
	if err != nil {
		leave()
		return nil, nil, err
	}
	return payloads(stream), leave, nil
}

func (streams streams) Send(messages load.Next) (int64, error) {
	stream, err := streams.client.Send(context.Background())
	if err != nil {
		return 0, err
	}
	// Sending answers io.EOF where the server has ended; its answer tells why.
	if err := sendAll(stream, messages); err != nil && err != io.EOF {
		return 0, err
	}
	total, err := stream.CloseAndRecv()
	return total.GetSize(), err
}

func (streams streams) Exchange(messages load.Next) (load.Next, error) {
	stream, err := streams.client.Exchange(context.Background())
	if err != nil {
		return nil, err
	}
	// An error of sending also ends the receiving, with its cause.
	go func() {
		if sendAll(stream, messages) == nil {
			stream.CloseSend()
		}
	}()
	return payloads(stream), nil
}

// sender is the sending half of either kind of client stream.
type sender interface {
	Send(*benchpb.Chunk) error
}

func sendAll(stream sender, messages load.Next) error {
	for {
		payload, err := messages()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&benchpb.Chunk{Data: payload}); err != nil {
			return err
		}
	}
}

// receiver is the receiving half of either kind of stream.
type receiver interface {
	Recv() (*benchpb.Chunk, error)
}

func payloads(stream receiver) load.Next {
	return func() ([]byte, error) {
		chunk, err := stream.Recv()
		return chunk.GetData(), err
	}
}

type streamsServer struct {
	benchpb.UnimplementedStreamsServer
}

func (streamsServer) Receive(order *benchpb.Order, stream grpc.ServerStreamingServer[benchpb.Chunk]) error {
	payload := bytes.Repeat([]byte("x"), int(order.Size))
	for range order.Count {
		if err := stream.Send(&benchpb.Chunk{Data: payload}); err != nil {
			return err
		}
	}
	return nil
}

func (streamsServer) Send(stream grpc.ClientStreamingServer[benchpb.Chunk, benchpb.Total]) error {
	var size int64
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&benchpb.Total{Size: size})
		}
		if err != nil {
			return err
		}
		size += int64(len(chunk.Data))
	}
}

func (streamsServer) Exchange(stream grpc.BidiStreamingServer[benchpb.Chunk, benchpb.Chunk]) error {
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(chunk); err != nil {
			return err
		}
	}
}
