package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/distinfer/distinfer/server/mtls"
)

// Credentials are a client's transport credentials. The TLS configuration is asked for
// anew for every connection, since one that is kept cannot change the authority it trusts.
// The name that the server has to prove is the one that gRPC calls it by:
// resolver.Address.ServerName, else the target's. Nil is plain text.
func Credentials(config func() *tls.Config) credentials.TransportCredentials {
	if config == nil {
		return insecure.NewCredentials()
	}
	return client{config}
}

type client struct{ config func() *tls.Config }

func (c client) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := credentials.NewTLS(c.config()).ClientHandshake(ctx, authority, raw)
	if err != nil {
		err = mtls.Explain(err)
	}
	return conn, info, err
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
