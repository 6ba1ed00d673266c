// Package load is the load generator of bench/compare/load.py for peers written in Go, rule for rule: a closed
// loop, one caller for each call in flight, callers that time every so many of their operations, and a window
// whose ends are readings of a shared counter, so that calls that straddle an end are neither lost nor waited for.
package load

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Order is what one client process is to do; bench/compare/compiled.py writes it as JSON.
type Order struct {
	Address string `json:"address"`
	// Operation is what is called: echo, mul or record, or the kind of a stream.
	Operation    string `json:"operation"`
	PayloadBytes int    `json:"payload_bytes"`
	InFlight     int    `json:"in_flight"`
	// Rate is how many calls are due in a second, in an open loop; 0: a closed loop.
	Rate        int     `json:"rate"`
	SampleEvery int     `json:"sample_every"`
	WarmSeconds float64 `json:"warm_seconds"`
	Seconds     float64 `json:"seconds"`
	// ServerProcesses are those whose processor time is read at both ends of the window.
	ServerProcesses []int  `json:"server_processes"`
	Record          Record `json:"record"`
	// Authority is the file of the authority that the server's certificate is of; empty without TLS.
	Authority string `json:"authority"`
}

// Record holds the values of the typed record that is built for each call.
type Record struct {
	ID    int64    `json:"id"`
	Name  string   `json:"name"`
	Score float64  `json:"score"`
	Tags  []string `json:"tags"`
}

// Equal tells whether an answer holds the same values.
func (record Record) Equal(id int64, name string, score float64, tags []string) bool {
	return record.ID == id && record.Name == name && record.Score == score && slices.Equal(record.Tags, tags)
}

// Measurement is what a client saw between the start and the end of its window.
type Measurement struct {
	Calls            int64   `json:"calls"`
	Seconds          float64 `json:"seconds"`
	ClientCPUSeconds float64 `json:"client_cpu_seconds"`
	ServerCPUSeconds float64 `json:"server_cpu_seconds"`
	P50Seconds       float64 `json:"p50_seconds"`
	P99Seconds       float64 `json:"p99_seconds"`
	P999Seconds      float64 `json:"p999_seconds"`
	Samples          int     `json:"samples"`
	// Cipher is what the connections agreed to; empty without TLS.
	Cipher string `json:"cipher"`
}

// ErrWrongAnswer says that the peer answered something else than the workload asks for.
var ErrWrongAnswer = errors.New("wrong answer")

// Operation is one call from nothing, which builds its arguments and waits for the answer.
type Operation struct {
	run   func() error
	check func() error
}

// NewOperation makes an operation of a call and of what tells a right answer, asked once.
func NewOperation[Answer any](call func() (Answer, error), isRight func(Answer) bool) Operation {
	run := func() error {
		_, err := call()
		return err
	}
	check := func() error {
		answer, err := call()
		if err == nil && !isRight(answer) {
			err = ErrWrongAnswer
		}
		return err
	}
	return Operation{run, check}
}

// Drive loads the peer as ordered, with a goroutine for each call in flight or, in an open loop, for each call, and
// returns what it saw.
func Drive(order Order, operation Operation) (Measurement, error) {
	if err := operation.check(); err != nil {
		return Measurement{}, err
	}
	if order.Rate > 0 {
		return driveAtRate(order, operation)
	}
	generator := &generator{order: order, operation: operation, failed: make(chan error, order.InFlight)}
	var callers sync.WaitGroup
	for index := range order.InFlight {
		callers.Go(func() { generator.callUntilStopped(index) })
	}
	measurement, err := generator.measure()
	generator.stopped.Store(true)
	if err == nil {
		callers.Wait()
	}
	return measurement, err
}

type generator struct {
	order     Order
	operation Operation
	completed atomic.Int64
	stopped   atomic.Bool
	failed    chan error

	mutex sync.Mutex
	// latencies are those sampled since the window began.
	latencies []time.Duration
}

func (generator *generator) callUntilStopped(index int) {
	every := generator.order.SampleEvery
	// Callers time different ones of their operations, so that samples spread over the window.
	untimed := index % every
	for !generator.stopped.Load() {
		for range untimed {
			if err := generator.operation.run(); err != nil {
				generator.failed <- err
				return
			}
			generator.completed.Add(1)
		}
		started := time.Now()
		if err := generator.operation.run(); err != nil {
			generator.failed <- err
			return
		}
		generator.sample(time.Since(started))
		generator.completed.Add(1)
		untimed = every - 1
	}
}

func (generator *generator) sample(latency time.Duration) {
	generator.mutex.Lock()
	generator.latencies = append(generator.latencies, latency)
	generator.mutex.Unlock()
}

// takeLatencies returns the samples so far and begins anew.
func (generator *generator) takeLatencies() []time.Duration {
	generator.mutex.Lock()
	defer generator.mutex.Unlock()
	taken := generator.latencies
	generator.latencies = nil
	return taken
}

func (generator *generator) measure() (Measurement, error) {
	if err := generator.wait(generator.order.WarmSeconds); err != nil {
		return Measurement{}, err
	}
	generator.takeLatencies()
	first, err := generator.read()
	if err != nil {
		return Measurement{}, err
	}
	if err := generator.wait(generator.order.Seconds); err != nil {
		return Measurement{}, err
	}
	last, err := generator.read()
	return measured(first, last, generator.takeLatencies()), err
}

// wait lets the callers work for so long, or until one of them fails.
func (generator *generator) wait(seconds float64) error {
	select {
	case err := <-generator.failed:
		return err
	case <-time.After(time.Duration(seconds * float64(time.Second))):
		return nil
	}
}

// reading holds clocks and counters at one end of a window.
type reading struct {
	now       time.Time
	completed int64
	clientCPU time.Duration
	serverCPU time.Duration
}

func (generator *generator) read() (reading, error) {
	reading := reading{now: time.Now(), completed: generator.completed.Load()}
	var err error
	reading.clientCPU, err = ownProcessorTime()
	for _, process := range generator.order.ServerProcesses {
		time, failure := processorTime(process)
		reading.serverCPU += time
		err = errors.Join(err, failure)
	}
	return reading, err
}

func measured(first, last reading, latencies []time.Duration) Measurement {
	slices.Sort(latencies)
	return Measurement{
		Calls:            last.completed - first.completed,
		Seconds:          last.now.Sub(first.now).Seconds(),
		ClientCPUSeconds: (last.clientCPU - first.clientCPU).Seconds(),
		ServerCPUSeconds: (last.serverCPU - first.serverCPU).Seconds(),
		P50Seconds:       percentile(latencies, 0.5),
		P99Seconds:       percentile(latencies, 0.99),
		P999Seconds:      percentile(latencies, 0.999),
		Samples:          len(latencies),
		Cipher:           agreedCipher(),
	}
}

// percentile returns the value in seconds that `share` of the ordered values do not exceed; 0 for none.
func percentile(ordered []time.Duration, share float64) float64 {
	if len(ordered) == 0 {
		return 0
	}
	return ordered[int(float64(len(ordered)-1)*share+0.5)].Seconds()
}
