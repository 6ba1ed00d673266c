package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"

	"github.com/smallnest/rpcx/client"
	"github.com/smallnest/rpcx/protocol"
)

// As a client that places its calls by key.

// lists is a discovery whose lists are given one by one. Its channel keeps none of them: once a list is taken, the one
// before it is in use.
type lists struct {
	first []*client.KVPair
	next  chan []*client.KVPair
}

func (told *lists) GetServices() []*client.KVPair                 { return told.first }
func (told *lists) WatchService() chan []*client.KVPair           { return told.next }
func (told *lists) RemoveWatcher(chan []*client.KVPair)           {}
func (told *lists) Clone(string) (client.ServiceDiscovery, error) { return told, nil }
func (told *lists) SetFilter(client.ServiceDiscoveryFilter)       {}
func (told *lists) Close()                                        {}

func pairsOf(list string) []*client.KVPair {
	pairs := []*client.KVPair{}
	for _, address := range strings.Split(list, ",") {
		pairs = append(pairs, &client.KVPair{Key: "tcp@" + address})
	}
	return pairs
}

// jumping is the selector that the documentation of rpcx builds on JumpConsistentHash.
type jumping struct{ servers []string }

func (one *jumping) UpdateServer(servers map[string]string) {
	one.servers = nil
	for server := range servers {
		one.servers = append(one.servers, server)
	}
	sort.Strings(one.servers)
}

func (one *jumping) Select(_ context.Context, path, method string, args any) string {
	return one.servers[client.JumpConsistentHash(len(one.servers), path, method, args)]
}

// placeKeys calls Keys.Where with each key after each list, and prints the answers.
func placeKeys(selector, steps string, count int) {
	listed := strings.Split(steps, ";")
	told := &lists{pairsOf(listed[0]), make(chan []*client.KVPair)}
	option := client.DefaultOption
	option.SerializeType = protocol.MsgPack
	mode := client.ConsistentHash
	if selector == "jump_hash" {
		mode = client.SelectByUser
	}
	one := client.NewXClient("Keys", client.Failtry, mode, told, option)
	defer one.Close()
	if selector == "jump_hash" {
		one.SetSelector(&jumping{})
	}
	answers := []map[string]string{}
	for _, list := range listed {
		told.next <- pairsOf(list)
		told.next <- pairsOf(list)
		found := map[string]string{}
		for number := range count {
			for _, key := range []any{number, fmt.Sprint("user-", number)} {
				place := ""
				err := one.Call(context.Background(), "Where", key, &place)
				found[fmt.Sprint(key)] = fmt.Sprint(outcome(err, place))
			}
		}
		answers = append(answers, found)
	}
	json.NewEncoder(os.Stdout).Encode(answers)
}
