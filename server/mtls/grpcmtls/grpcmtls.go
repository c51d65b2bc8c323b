// Package grpcmtls makes gRPC's transport credentials of TLS configurations. A
// client's is asked for anew for every connection, since one that is kept cannot
// change the authority it trusts.
//
// It knows gRPC and crypto/tls, and neither files nor stages.
package grpcmtls

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Client is for grpc.WithTransportCredentials. The name that the server has to
// prove is the one that gRPC calls it by: resolver.Address.ServerName, else the
// target's. Without a configuration connections are plain text.
func Client(config func() *tls.Config) credentials.TransportCredentials {
	if config == nil {
		return insecure.NewCredentials()
	}
	return client{config}
}

// Server is for grpc.Creds. Without a configuration connections are plain text.
func Server(config *tls.Config) credentials.TransportCredentials {
	if config == nil {
		return insecure.NewCredentials()
	}
	return credentials.NewTLS(config)
}

type client struct{ config func() *tls.Config }

func (c client) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return credentials.NewTLS(c.config()).ClientHandshake(ctx, authority, raw)
}

func (client) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are a client's")
}

func (client) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (c client) Clone() credentials.TransportCredentials { return c }

func (client) OverrideServerName(string) error {
	return errors.New("the name is that of the server called")
}
