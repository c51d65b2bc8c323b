package replica

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"slices"
)

// Subset chooses n of the addresses for a client, or all when n is 0 or there are no more. Clients
// of different names choose differently and in an order of their own, and each replica has about
// as many clients as every other. One address more or less changes one of the chosen.
//
// It is rendezvous hashing (Thaler and Ravishankar 1998), so clients need not know each other.
func Subset(client string, addresses []string, n int) []string {
	if n <= 0 || len(addresses) <= n {
		n = len(addresses)
	}
	type ranked struct {
		address string
		weight  uint64
	}
	list := make([]ranked, len(addresses))
	for i, a := range addresses {
		list[i] = ranked{a, weight(client, a)}
	}
	slices.SortFunc(list, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.address, b.address))
	})
	chosen := make([]string, n)
	for i := range chosen {
		chosen[i] = list[i].address
	}
	return chosen
}

// weight mixes a hash of both names: FNV alone gives similar names similar weights.
func weight(client, address string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(client))))
	_, _ = h.Write([]byte(client))
	_, _ = h.Write([]byte(address))
	x := h.Sum64()
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
