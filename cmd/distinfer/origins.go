package main

import (
	"fmt"
	"net/url"
	"reflect"
	"strings"
)

// origins are web pages whose scripts may read the answers.
type origins []string

// decodeOrigins reads origins as they may stand in a config file: a string with
// commas, or a list.
func decodeOrigins(_, to reflect.Type, data any) (any, error) {
	if to != reflect.TypeFor[origins]() {
		return data, nil
	}
	var list origins
	switch d := data.(type) {
	case nil:
		return list, nil
	case string:
		if strings.TrimSpace(d) == "" {
			return list, nil
		}
		list = strings.Split(d, ",")
	case []any:
		for _, o := range d {
			list = append(list, fmt.Sprint(o))
		}
	default:
		return nil, fmt.Errorf("cors-origins is %v; it can be a list of origins", d)
	}
	for i, o := range list {
		list[i] = strings.TrimSpace(o)
		if err := checkOrigin(list[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
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
