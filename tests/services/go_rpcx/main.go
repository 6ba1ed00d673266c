// Command go_rpcx is rpcx itself, as a client that calls a server of fastrpc and as a server that is called.
//
//	go_rpcx client HOST:PORT        calls Arith there, and prints what came as one JSON object
//	go_rpcx fan HOST:PORT,HOST:PORT calls Arith at all of these, and is pushed to; prints the same way
//	go_rpcx files HOST:PORT FOLDER  sends a file of the folder, and fetches it; prints the same way
//	go_rpcx over HOST:PORT,HOST:PORT calls Arith with Failover until its input ends; prints the same way
//	go_rpcx keys LISTS SELECTOR     calls Keys with 200 keys after each of the lists, which are separated by semicolons
//	go_rpcx names HOST:PORT         calls a service whose names are those of Python; prints the same way
//	go_rpcx server HOST:PORT TOKEN  serves Arith; with a token only to those who have it; the files of $FILES if it is set
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/smallnest/rpcx/client"
	"github.com/smallnest/rpcx/log"
	"github.com/smallnest/rpcx/protocol"
	"github.com/smallnest/rpcx/server"
	"github.com/smallnest/rpcx/share"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type Args struct{ A, B int }

type Reply struct{ C int }

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: go_rpcx client|fan|files|keys|names|over|server HOST:PORT[,HOST:PORT] [TOKEN]")
		os.Exit(2)
	}
	// The library logs on standard output otherwise, at any time: between what is printed there and behind it.
	log.SetLogger(log.NewDefaultLogger(os.Stderr, "", stdlog.LstdFlags|stdlog.Lshortfile, log.LvError))
	switch os.Args[1] {
	case "client":
		call(os.Args[2])
		return
	case "fan":
		fan(strings.Split(os.Args[2], ","))
		return
	case "files":
		copyFiles(os.Args[2], os.Args[3])
		return
	case "over":
		failOver(strings.Split(os.Args[2], ","))
		return
	case "keys":
		placeKeys(os.Args[3], os.Args[2], 100)
		return
	case "names":
		callByNames(os.Args[2])
		return
	}
	serve(os.Args[2], strings.Join(os.Args[3:], ""))
}

// As a client

func call(address string) {
	found := map[string]any{}
	for name, kind := range map[string]protocol.SerializeType{"msgpack": protocol.MsgPack, "json": protocol.JSON} {
		option := client.DefaultOption
		option.SerializeType = kind
		one := connect(address, option)
		reply := new(Reply)
		found[name] = outcome(one.Call(context.Background(), "Arith", "Mul", &Args{6, 7}, reply), reply.C)
		text := new(string)
		found[name+" text"] = outcome(one.Call(context.Background(), "Arith", "Echo", "grüße <&>", text), *text)
		found[name+" error"] = outcome(one.Call(context.Background(), "Arith", "Fail", &Args{}, reply), nil)
		found[name+" unknown"] = outcome(one.Call(context.Background(), "Arith", "Nope", &Args{}, reply), nil) != nil
		one.Close()
	}
	option := client.DefaultOption
	option.SerializeType = protocol.ProtoBuffer
	one := connect(address, option)
	answer := new(wrapperspb.StringValue)
	err := one.Call(context.Background(), "Arith", "EchoPB", wrapperspb.String("proto"), answer)
	found["protobuf"] = outcome(err, answer.Value)
	one.Close()
	withGzip(address, found)
	withMetadata(address, found)
	inParallel(address, found)
	withHeartbeats(address, found)
	withXClient(address, found)
	json.NewEncoder(os.Stdout).Encode(found)
}

func connect(address string, option client.Option) *client.Client {
	one := client.NewClient(option)
	if err := one.Connect("tcp", address); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return one
}

func outcome(err error, value any) any {
	if err != nil {
		return "error: " + err.Error()
	}
	return value
}

func withGzip(address string, found map[string]any) {
	option := client.DefaultOption
	option.CompressType = protocol.Gzip
	one := connect(address, option)
	defer one.Close()
	sent := strings.Repeat("alpha bravo ", 1000)
	text := new(string)
	err := one.Call(context.Background(), "Arith", "Echo", sent, text)
	found["gzip"] = outcome(err, *text == sent)
}

func withMetadata(address string, found map[string]any) {
	one := connect(address, client.DefaultOption)
	defer one.Close()
	answered := map[string]string{}
	context := context.WithValue(context.Background(), share.ReqMetaDataKey, map[string]string{"trace": "abc"})
	context = contextWith(context, answered)
	err := one.Call(context, "Arith", "Meta", &Args{2, 3}, new(Reply))
	found["metadata"] = outcome(err, answered)
	found["one-way"] = outcome(one.Call(context, "Arith", "Note", "told", nil), true)
	notes := []string{}
	err = one.Call(context, "Arith", "Notes", "", &notes)
	found["notes"] = outcome(err, notes)
}

func contextWith(parent context.Context, answered map[string]string) context.Context {
	return context.WithValue(parent, share.ResMetaDataKey, answered)
}

func inParallel(address string, found map[string]any) {
	one := connect(address, client.DefaultOption)
	defer one.Close()
	var waiting sync.WaitGroup
	var lock sync.Mutex
	wrong := 0
	for i := range 500 {
		waiting.Add(1)
		go func() {
			defer waiting.Done()
			reply := new(Reply)
			if err := one.Call(context.Background(), "Arith", "Mul", &Args{i, i}, reply); err != nil || reply.C != i*i {
				lock.Lock()
				wrong++
				lock.Unlock()
			}
		}()
	}
	waiting.Wait()
	found["wrong of 500 at once"] = wrong
}

func withHeartbeats(address string, found map[string]any) {
	option := client.DefaultOption
	option.Heartbeat = true
	option.HeartbeatInterval = 50 * time.Millisecond
	one := connect(address, option)
	defer one.Close()
	reply := new(int)
	err := one.Call(context.Background(), "Arith", "Sleep", 400, reply)
	found["heartbeats"] = outcome(err, *reply)
}

func withXClient(address string, found map[string]any) {
	discovery, _ := client.NewPeer2PeerDiscovery("tcp@"+address, "")
	one := client.NewXClient("Arith", client.Failtry, client.RandomSelect, discovery, client.DefaultOption)
	defer one.Close()
	one.Auth("secret")
	limited, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	has := new(bool)
	found["deadline seen"] = outcome(one.Call(limited, "HasDeadline", "", has), *has)
	short, stop := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer stop()
	err := one.Call(short, "Sleep", 5000, new(int))
	found["deadline over"] = errors.Is(err, context.DeadlineExceeded) || err != nil
	reply := new(Reply)
	found["after it"] = outcome(one.Call(context.Background(), "Mul", &Args{3, 4}, reply), reply.C)
	one.Auth("wrong")
	found["wrong token"] = outcome(one.Call(context.Background(), "Mul", &Args{3, 4}, reply), "taken")
}

func listed(addresses []string) client.ServiceDiscovery {
	pairs := []*client.KVPair{}
	for _, address := range addresses {
		pairs = append(pairs, &client.KVPair{Key: "tcp@" + address})
	}
	discovery, _ := client.NewMultipleServersDiscovery(pairs)
	return discovery
}

// failOver calls from several goroutines, with a list of servers that nobody changes.
func failOver(addresses []string) {
	option := client.DefaultOption
	// The callers share the turns of RoundRobin: one of them may pick the dead server several times in a row.
	option.Retries = 30
	one := client.NewXClient("Arith", client.Failover, client.RoundRobin, listed(addresses), option)
	defer one.Close()
	var callers sync.WaitGroup
	var lock sync.Mutex
	var over atomic.Bool
	done, failed := 0, []string{}
	for number := range 8 {
		callers.Add(1)
		go func() {
			defer callers.Done()
			for !over.Load() {
				reply := new(Reply)
				err := one.Call(context.Background(), "Mul", &Args{number, 2}, reply)
				lock.Lock()
				if err != nil {
					failed = append(failed, err.Error())
				} else if reply.C != 2*number {
					failed = append(failed, fmt.Sprint(reply.C))
				}
				if done++; done%500 == 0 {
					fmt.Println(done)
				}
				lock.Unlock()
				time.Sleep(time.Millisecond)
			}
		}()
	}
	io.Copy(io.Discard, os.Stdin)
	over.Store(true)
	callers.Wait()
	json.NewEncoder(os.Stdout).Encode(map[string]any{"done": done, "failed": failed})
}

type Line struct {
	ItemID   int
	NoteText string
}

type Basket struct {
	UserID   int
	Lines    []Line
	BestLine *Line
}

func callByNames(address string) {
	found := map[string]any{}
	for name, kind := range map[string]protocol.SerializeType{"msgpack": protocol.MsgPack, "json": protocol.JSON} {
		option := client.DefaultOption
		option.SerializeType = kind
		one := connect(address, option)
		reply := new(Basket)
		err := one.Call(context.Background(), "ShopV1", "FillBasket", &Basket{7, []Line{{1, "a"}}, nil}, reply)
		found[name] = outcome(err, reply)
		one.Close()
	}
	json.NewEncoder(os.Stdout).Encode(found)
}

func fan(addresses []string) {
	found := map[string]any{}
	discovery := listed(addresses)
	pushed := make(chan *protocol.Message, 16)
	one := client.NewBidirectionalXClient("Arith", client.Failtry, client.RoundRobin, discovery, client.DefaultOption, pushed)
	defer one.Close()
	reply := new(Reply)
	found["broadcast"] = outcome(one.Broadcast(context.Background(), "Mul", &Args{6, 7}, reply), reply.C)
	reply = new(Reply)
	found["fork"] = outcome(one.Fork(context.Background(), "Mul", &Args{3, 4}, reply), reply.C)
	found["broadcast error"] = outcome(one.Broadcast(context.Background(), "Fail", &Args{}, reply), nil) != nil
	count := new(int)
	found["push"] = outcome(one.Call(context.Background(), "Push", 3, count), *count)
	messages := []string{}
	for range 3 {
		select {
		case message := <-pushed:
			messages = append(messages, message.ServicePath+"."+message.ServiceMethod+" "+string(message.Payload))
		case <-time.After(20 * time.Second):
			messages = append(messages, "nothing came")
		}
	}
	found["pushed"] = messages
	json.NewEncoder(os.Stdout).Encode(found)
}

func copyFiles(address, folder string) {
	discovery, _ := client.NewPeer2PeerDiscovery("tcp@"+address, "")
	found := map[string]any{}
	for name, kind := range map[string]protocol.SerializeType{"msgpack": protocol.MsgPack, "json": protocol.JSON} {
		option := client.DefaultOption
		option.SerializeType = kind
		one := client.NewXClient(share.SendFileServiceName, client.Failfast, client.RandomSelect, discovery, option)
		one.Auth("secret")
		sent := one.SendFile(context.Background(), folder+"/sent-"+name, 0, map[string]string{"by": "go"})
		found[name+" sent"] = outcome(sent, true)
		fetched, _ := os.Create(folder + "/fetched-" + name)
		found[name+" fetched"] = outcome(one.DownloadFile(context.Background(), "kept", fetched, nil), true)
		fetched.Close()
		err := one.DownloadFile(context.Background(), "../sent", io.Discard, nil)
		found[name+" outside"] = outcome(err, nil)
		one.Close()
	}
	json.NewEncoder(os.Stdout).Encode(found)
}

// As a server

// Returns once files of the folder can be fetched and sent.
func serveFiles(folder string) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	address := free.Addr().String()
	free.Close()
	receive := func(connection net.Conn, args *share.FileTransferArgs) {
		defer connection.Close()
		file, err := os.Create(folder + "/" + args.FileName)
		if err == nil {
			io.Copy(file, connection)
			file.Close()
		}
	}
	send := func(connection net.Conn, args *share.DownloadFileArgs) {
		defer connection.Close()
		file, err := os.Open(folder + "/" + args.FileName)
		if err == nil {
			io.Copy(connection, file)
			file.Close()
		}
	}
	engine.EnableFileTransfer("", server.NewFileTransfer(address, receive, send, 16))
	for {
		if connection, err := net.Dial("tcp", address); err == nil {
			connection.Close()
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Pushes are sent by the server itself.
var engine = server.NewServer()

type Arith struct {
	lock  sync.Mutex
	notes []string
}

func (*Arith) Mul(_ context.Context, args *Args, reply *Reply) error {
	reply.C = args.A * args.B
	return nil
}

func (*Arith) Echo(_ context.Context, text *string, reply *string) error {
	*reply = *text
	return nil
}

func (*Arith) EchoBytes(_ context.Context, data *[]byte, reply *[]byte) error {
	*reply = *data
	return nil
}

func (*Arith) EchoPB(_ context.Context, text *wrapperspb.StringValue, reply *wrapperspb.StringValue) error {
	reply.Value = text.Value
	return nil
}

func (*Arith) Sleep(_ context.Context, milliseconds *int, reply *int) error {
	time.Sleep(time.Duration(*milliseconds) * time.Millisecond)
	*reply = *milliseconds
	return nil
}

func (*Arith) Fail(_ context.Context, _ *Args, _ *Reply) error {
	return errors.New("boom")
}

func (one *Arith) Note(_ context.Context, text *string, _ *struct{}) error {
	one.lock.Lock()
	defer one.lock.Unlock()
	one.notes = append(one.notes, *text)
	return nil
}

func (one *Arith) Notes(_ context.Context, _ *struct{}, reply *[]string) error {
	one.lock.Lock()
	defer one.lock.Unlock()
	*reply = append([]string{}, one.notes...)
	return nil
}

func (*Arith) Push(where context.Context, count *int, reply *int) error {
	connection := where.Value(server.RemoteConnContextKey).(net.Conn)
	for i := range *count {
		metadata := map[string]string{"n": fmt.Sprint(i)}
		if err := engine.SendMessage(connection, "news", "first", metadata, []byte(fmt.Sprint("push ", i))); err != nil {
			return err
		}
	}
	*reply = *count
	return nil
}

func (*Arith) HasDeadline(where context.Context, _ *struct{}, reply *bool) error {
	_, *reply = where.Deadline()
	return nil
}

func (*Arith) Meta(where context.Context, args *Args, reply *Reply) error {
	asked, _ := where.Value(share.ReqMetaDataKey).(map[string]string)
	answered, _ := where.Value(share.ResMetaDataKey).(map[string]string)
	for key, value := range asked {
		answered["echo-"+key] = value
	}
	reply.C = args.A * args.B
	return nil
}

func serve(address, token string) {
	if token != "" {
		engine.AuthFunc = func(_ context.Context, _ *protocol.Message, given string) error {
			if given != token {
				return errors.New("invalid token")
			}
			return nil
		}
	}
	if err := engine.RegisterName("Arith", new(Arith), ""); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if folder := os.Getenv("FILES"); folder != "" {
		serveFiles(folder)
	}
	go func() {
		for engine.Address() == nil {
			time.Sleep(5 * time.Millisecond)
		}
		fmt.Println(engine.Address())
	}()
	if err := engine.Serve("tcp", address); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
