// Command etcd is a node of etcd and its client, beside a store of fastrpc. `etcd serve FOLDER` serves until its input
// closes; `etcd load KIND ADDRESS SECONDS PROCESS` prints what bench/agreement/load.py does.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/url"
	"os"

	"go.etcd.io/etcd/server/v3/embed"
)

func main() {
	err := errors.New("usage: etcd serve FOLDER, or etcd load KIND ADDRESS SECONDS PROCESS")
	switch {
	case len(os.Args) == 3 && os.Args[1] == "serve":
		err = serve(os.Args[2])
	case len(os.Args) == 6 && os.Args[1] == "load":
		err = printLoad(os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	}
	if err != nil {
		log.Fatal(err)
	}
}

// serve announces the node as the parent expects it: its address, and its process for the account of time.
func serve(folder string) error {
	client, err := freeURL()
	if err != nil {
		return err
	}
	peer, err := freeURL()
	if err != nil {
		return err
	}
	config := embed.NewConfig()
	config.Dir = folder
	config.LogLevel = "error"
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	node, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	defer node.Close()
	select {
	case <-node.Server.ReadyNotify():
	case err := <-node.Err():
		return err
	}
	announcement := map[string]any{"address": "etcd://" + client.Host, "processes": []int{os.Getpid()}}
	if err := json.NewEncoder(os.Stdout).Encode(announcement); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func freeURL() (url.URL, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return url.URL{}, err
	}
	defer listener.Close()
	return url.URL{Scheme: "http", Host: fmt.Sprint(listener.Addr())}, nil
}
