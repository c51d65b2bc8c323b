package batch

import "time"

// A pace knows how fast texts are answered, by the latest batches.
type pace struct {
	texts float64 // in a batch
	share float64 // of the time that is a batch's, in seconds: others are computed beside it
	took  float64 // by a batch, in seconds; 0 while nothing is known
	price float64 // of a batch, in positions
}

// fresh is the share of the newest batch in what is known.
const fresh = 0.1

// learn takes note of a batch: its texts, its price, how long it took, and how many
// such were under way at a time.
func (p *pace) learn(texts int, price float64, took time.Duration, underWay int) {
	seconds := took.Seconds()
	if seconds <= 0 {
		return
	}
	now := pace{texts: float64(texts), share: seconds / float64(underWay), took: seconds, price: price}
	if p.took == 0 {
		*p = now
		return
	}
	// Not the rate itself: of a short batch it would count as much as of a long one.
	p.texts += (now.texts - p.texts) * fresh
	p.share += (now.share - p.share) * fresh
	p.took += (now.took - p.took) * fresh
	p.price += (now.price - p.price) * fresh
}

// wait is how long it takes to answer so many texts; 0 while nothing is known.
func (p *pace) wait(texts int) time.Duration {
	if p.took == 0 {
		return 0
	}
	return time.Duration(float64(texts) / p.texts * p.share * float64(time.Second))
}

// time is how long a batch takes; 0 while nothing is known.
func (p *pace) time() time.Duration { return time.Duration(p.took * float64(time.Second)) }

// latency is how long a batch of some price takes; 0 while nothing is known. A batch
// of average price takes the average time, and no batch is taken to be slower than
// that: it is better to compute in vain than to refuse what could be had.
func (p *pace) latency(price float64) time.Duration {
	if p.took == 0 {
		return 0
	}
	return time.Duration(p.took * min(price/p.price, 1) * float64(time.Second))
}
