package batch

import "time"

// A pace knows how fast texts are answered, by the latest batches.
type pace struct {
	texts float64 // in a batch
	share float64 // of a batch in the time, in seconds: its time divided by the batches in flight
	took  float64 // seconds a batch; 0 while nothing is known
	price float64 // of a batch, in tokens
}

// fresh is the share of the newest batch in what is known.
const fresh = 0.1

// learn records a batch: its texts, its price, how long it took, and how many were in flight.
func (p *pace) learn(texts int, price float64, took time.Duration, inFlight int) {
	seconds := took.Seconds()
	if seconds <= 0 {
		return
	}
	now := pace{texts: float64(texts), share: seconds / float64(inFlight), took: seconds, price: price}
	if p.took == 0 {
		*p = now
		return
	}
	// Not the rate itself: there a short batch would count as much as a long one.
	p.texts += (now.texts - p.texts) * fresh
	p.share += (now.share - p.share) * fresh
	p.took += (now.took - p.took) * fresh
	p.price += (now.price - p.price) * fresh
}

// wait is how long it takes to answer as many texts; 0 while nothing is known.
func (p *pace) wait(texts int) time.Duration {
	if p.took == 0 {
		return 0
	}
	return time.Duration(float64(texts) / p.texts * p.share * float64(time.Second))
}

// time is how long a batch takes; 0 while nothing is known.
func (p *pace) time() time.Duration { return time.Duration(p.took * float64(time.Second)) }

// latency is how long a batch of a price takes; 0 while nothing is known. A batch of average
// price takes the average time, and no batch is estimated to be slower: too high an estimate
// would refuse texts that could be answered.
func (p *pace) latency(price float64) time.Duration {
	if p.took == 0 {
		return 0
	}
	return time.Duration(p.took * min(price/p.price, 1) * float64(time.Second))
}
