package load

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

const (
	// endless is more messages than any window takes.
	endless = 1 << 40
	// checkedMessages are those of the stream that is checked.
	checkedMessages = 100
)

// errEndedEarly says that a stream ended before the window was over.
var errEndedEarly = errors.New("the stream ended before the window was over")

// Next returns the payload of the next message; at the end it returns io.EOF.
type Next func() ([]byte, error)

// Streams opens streams over one connection: the load of bench/compare/stream_load.py, rule for rule.
type Streams interface {
	// Receive opens a server stream of so many messages; leave ends it.
	Receive(count int64) (next Next, leave func(), err error)
	// Send sends a client stream to its end and returns how many bytes the server took.
	Send(messages Next) (int64, error)
	// Exchange opens a stream both ways that gives back each message.
	Exchange(messages Next) (next Next, err error)
}

// IsStream tells whether the order is for messages of one stream.
func (order Order) IsStream() bool {
	switch order.Operation {
	case "server_stream", "client_stream", "both_ways":
		return true
	}
	return false
}

// DriveStream loads the peer with one stream as ordered and returns what it saw.
func DriveStream(order Order, streams Streams) (Measurement, error) {
	load := &streamLoad{streams: streams, payload: order.payload()}
	check, run := load.checkReceive, load.receive
	switch order.Operation {
	case "client_stream":
		check, run = load.checkSend, load.send
	case "both_ways":
		check, run = load.checkExchange, load.exchange
	}
	if err := check(); err != nil {
		return Measurement{}, err
	}
	generator := &generator{order: order, failed: make(chan error, 1)}
	load.generator = generator
	ended := make(chan error, 1)
	go func() {
		err := run()
		if err == nil && !generator.stopped.Load() {
			err = errEndedEarly
		}
		if err != nil {
			generator.failed <- err
		}
		ended <- err
	}()
	return generator.measureStream(ended)
}

// measureStream reads both ends of the window. The window of a client stream closes with its answer, so that
// messages that wait in buffers count with the time they take.
func (generator *generator) measureStream(ended <-chan error) (Measurement, error) {
	if err := generator.wait(generator.order.WarmSeconds); err != nil {
		return Measurement{}, err
	}
	first, err := generator.read()
	if err != nil {
		return Measurement{}, err
	}
	if err := generator.wait(generator.order.Seconds); err != nil {
		return Measurement{}, err
	}
	last, err := generator.read()
	if err != nil {
		return Measurement{}, err
	}
	generator.stopped.Store(true)
	if err := <-ended; err != nil {
		return Measurement{}, err
	}
	if generator.order.Operation == "client_stream" {
		last, err = generator.read()
	}
	return measured(first, last, nil), err
}

// payload returns the bytes of each message.
func (order Order) payload() []byte {
	payload := make([]byte, order.PayloadBytes)
	for index := range payload {
		payload[index] = 'x'
	}
	return payload
}

// streamLoad is one stream that is checked, then loaded.
type streamLoad struct {
	streams   Streams
	payload   []byte
	generator *generator
	// sent counts the messages of the load's client half.
	sent atomic.Int64
}

func (load *streamLoad) checkReceive() error {
	next, leave, err := load.streams.Receive(checkedMessages)
	if err != nil {
		return err
	}
	defer leave()
	for range checkedMessages {
		message, err := next()
		if err != nil {
			return err
		}
		if string(message) != string(load.payload) {
			return ErrWrongAnswer
		}
	}
	return expectEnd(next)
}

func (load *streamLoad) receive() error {
	next, leave, err := load.streams.Receive(endless)
	if err != nil {
		return err
	}
	defer leave()
	for !load.generator.stopped.Load() {
		if _, err := next(); err != nil {
			return fmt.Errorf("%w: %w", errEndedEarly, err)
		}
		load.generator.completed.Add(1)
	}
	return nil
}

func (load *streamLoad) checkSend() error {
	taken, err := load.streams.Send(load.numbered())
	if err == nil && taken != checkedMessages*int64(len(load.payload)) {
		err = ErrWrongAnswer
	}
	return err
}

func (load *streamLoad) send() error {
	taken, err := load.streams.Send(load.untilOver(&load.generator.completed))
	if err == nil && taken != load.generator.completed.Load()*int64(len(load.payload)) {
		err = ErrWrongAnswer
	}
	return err
}

func (load *streamLoad) checkExchange() error {
	next, err := load.streams.Exchange(load.numbered())
	if err != nil {
		return err
	}
	expected := load.numbered()
	for range checkedMessages {
		message, err := next()
		if err != nil {
			return err
		}
		if wanted, _ := expected(); string(message) != string(wanted) {
			return ErrWrongAnswer
		}
	}
	return expectEnd(next)
}

func (load *streamLoad) exchange() error {
	next, err := load.streams.Exchange(load.untilOver(&load.sent))
	if err != nil {
		return err
	}
	for {
		_, err := next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		load.generator.completed.Add(1)
	}
	if load.generator.completed.Load() != load.sent.Load() {
		return ErrWrongAnswer
	}
	return nil
}

// numbered gives the messages of the stream that is checked, no two of them alike.
func (load *streamLoad) numbered() Next {
	number := 0
	return func() ([]byte, error) {
		if number == checkedMessages {
			return nil, io.EOF
		}
		message := append([]byte{0, 0, 0, byte(number)}, load.payload[4:]...)
		number++
		return message, nil
	}
}

// untilOver gives messages without a pause until the window is over; a message counts once the next one is asked for.
func (load *streamLoad) untilOver(count *atomic.Int64) Next {
	begun := false
	return func() ([]byte, error) {
		if begun {
			count.Add(1)
		}
		begun = true
		if load.generator.stopped.Load() {
			return nil, io.EOF
		}
		return load.payload, nil
	}
}

func expectEnd(next Next) error {
	_, err := next()
	if err == io.EOF {
		return nil
	}
	if err == nil {
		err = ErrWrongAnswer
	}
	return err
}
