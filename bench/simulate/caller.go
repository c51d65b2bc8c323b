package simulate

import (
	"errors"
	"time"

	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/server/replica"
)

// A caller is the client side of a process: it calls the replicas of a rank, chosen by the real
// state machine.
type caller struct {
	f         *fleet
	rank      int
	addresses []string
	set       *replica.Set
	links     map[string]*link
	waiting   []*call
	dead      bool // its process ended, and what it waited for is of no use
}

// A job is a batch on its way.
type job struct{ texts, tokens int }

// An answer is what becomes of a call.
type answer struct {
	ok      bool
	timings []pipeline.Timing
}

// A call is tried on one replica after the other.
type call struct {
	job     job
	by      *caller
	began   time.Duration
	trial   replica.Trial
	refused map[string]bool
	done    func(answer)
	over    bool
}

// begin is the start of the process.
func (c *caller) begin() {
	c.set = replica.New(replica.DefaultPolicy)
	c.set.Keep(c.addresses)
	c.waiting = nil
	for _, a := range c.addresses {
		l := c.links[a]
		clear(l.attempts)
		l.probing = false
		l.probe()
	}
}

func (c *caller) call(j job, done func(answer)) {
	k := &call{job: j, by: c, began: c.f.now, done: done, refused: map[string]bool{}}
	c.f.after(longestWait, func() {
		for _, w := range c.waiting {
			if w == k {
				k.end(answer{})
			}
		}
	})
	k.try()
}

func (k *call) end(a answer) {
	if !k.over {
		k.over = true
		k.done(a)
	}
}

// try sends a call to a replica, or has it wait for one.
func (k *call) try() {
	c := k.by
	if k.over {
		return
	}
	choose := c.set.Pick
	if k.trial.Suspect {
		choose = c.set.PickAlone
	}
	address, ok := choose(c.f.time(), func(a string) bool { return k.refused[a] })
	if !ok {
		if c.set.Usable() && !c.set.Held() && len(k.refused) > 0 {
			k.end(answer{})
			return
		}
		if !c.set.Held() {
			clear(k.refused)
		}
		c.waiting = append(c.waiting, k)
		return
	}
	l := c.links[address]
	a := &attempt{call: k, link: l, sent: c.f.now, alone: k.trial.Suspect}
	l.attempts[a] = true
	c.f.after(c.f.hop(k.job, c.rank), func() {
		if !a.over {
			l.to.receive(a)
		}
	})
}

// news has waiting calls try again.
func (c *caller) news() {
	list := c.waiting
	c.waiting = nil
	for _, k := range list {
		k.try()
	}
}

// An attempt is a call at one replica.
type attempt struct {
	call            *call
	link            *link
	sent            time.Duration // by the caller
	came, computing time.Duration // at the replica
	alone, begun    bool
	over            bool
}

// close ends an attempt for its caller.
func (a *attempt) close(took time.Duration) {
	c := a.link.caller
	a.over = true
	delete(a.link.attempts, a)
	c.set.Done(c.f.time(), a.link.to.address, took)
	if a.alone {
		c.set.DoneAlone()
		c.news()
	}
}

// answered ends an attempt with an answer; next is the time that was spent behind the replica.
func (a *attempt) answered(result answer, next time.Duration) {
	took := max(0, a.link.caller.f.now-a.sent-next)
	if !result.ok {
		took = -1
	}
	a.close(took)
	a.call.end(result)
}

// lost ends an attempt without an answer, and retries the call if it may be.
func (a *attempt) lost(loss replica.Loss, refused bool) {
	c := a.link.caller
	a.close(-1)
	if c.dead {
		return
	}
	k := a.call
	if refused {
		k.refused[a.link.to.address] = true
	}
	if v := k.trial.Lost(a.link.to.address, loss); v != replica.Again || !c.set.TakeRetry() {
		k.end(answer{})
		return
	}
	c.f.result.Retries += k.job.texts
	k.try()
}

// A link is the connections of a caller to a replica.
type link struct {
	caller   *caller
	to       *machine
	attempts map[*attempt]bool
	probing  bool // until the replica can be used
}

var errDown = errors.New("down")

// probe requests the state of the replica, and again until it can be used.
func (l *link) probe() {
	if l.probing {
		return
	}
	l.probing = true
	l.look(l.caller.set)
}

func (l *link) look(set *replica.Set) {
	f := l.caller.f
	if set != l.caller.set { // the caller was started again
		return
	}
	fail := func() {
		retry, _ := set.Fail(f.time(), l.to.address, replica.Down, errDown)
		f.after(retry, func() { l.look(set) })
	}
	switch l.to.state {
	case healthy:
		l.probing = false
		if set.Ready(f.time(), l.to.address) {
			l.caller.news()
		}
	case killed:
		fail()
	case silent:
		f.after(deadAfter, func() {
			if set != l.caller.set {
				return
			}
			if l.to.state == healthy { // it answered meanwhile
				l.look(set)
				return
			}
			fail()
			l.breakOff(false)
		})
	}
}

// breakOff ends the attempts under way. died says that the replica is known to have ended.
func (l *link) breakOff(died bool) {
	for _, a := range sorted(l.attempts) {
		loss := replica.Together
		if a.alone && a.begun {
			loss = replica.AloneCut
			if died {
				loss = replica.AloneDied
			}
		}
		a.lost(loss, false)
	}
}

// broke notes that a call showed the replica to be down.
func (l *link) broke() {
	if l.caller.set.Lost(l.caller.f.time(), l.to.address, replica.Down, errDown) {
		l.probe()
	}
}
