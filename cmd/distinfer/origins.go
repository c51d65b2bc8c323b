package main

import (
	"fmt"
	"net/url"
	"reflect"
	"strings"

	"github.com/distinfer/distinfer/server/hostcheck"
)

// decodeList reads a list as it may stand in a config file: a string with commas, or a list.
func decodeList(key string, data any) (list []string, err error) {
	switch d := data.(type) {
	case nil:
	case string:
		if strings.TrimSpace(d) != "" {
			list = strings.Split(d, ",")
		}
	case []any:
		for _, o := range d {
			list = append(list, fmt.Sprint(o))
		}
	default:
		return nil, fmt.Errorf("%s is %v; it can be a list", key, d)
	}
	for i, one := range list {
		list[i] = strings.TrimSpace(one)
	}
	return list, nil
}

// hosts are the names under which a process on a loopback address is asked.
type hosts []string

func decodeHosts(_, to reflect.Type, data any) (any, error) {
	if to != reflect.TypeFor[hosts]() {
		return data, nil
	}
	list, err := decodeList("allowed-hosts", data)
	if err != nil {
		return nil, err
	}
	for _, h := range list {
		if _, err := hostcheck.ParseHost(h); err != nil {
			return nil, fmt.Errorf("allowed-hosts: %w", err)
		}
	}
	return hosts(list), nil
}

// origins are web pages whose scripts may read the answers.
type origins []string

// decodeOrigins reads origins as they may stand in a config file: a string with
// commas, or a list.
func decodeOrigins(_, to reflect.Type, data any) (any, error) {
	if to != reflect.TypeFor[origins]() {
		return data, nil
	}
	list, err := decodeList("cors-origins", data)
	if err != nil {
		return nil, err
	}
	for _, o := range list {
		if err := checkOrigin(o); err != nil {
			return nil, err
		}
	}
	return origins(list), nil
}

// checkOrigin checks for what a browser sends as Origin: scheme://host or
// scheme://host:port.
func checkOrigin(o string) error {
	u, err := url.Parse(o)
	if o != "*" && (err != nil || u.Host == "" || o != u.Scheme+"://"+u.Host) {
		return fmt.Errorf("cors-origins: %q is not an origin; it can be such as https://example.org, without a path, or *", o)
	}
	return nil
}
