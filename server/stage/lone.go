package stage

import (
	"time"
)

// A lone is what is known of runs that are alone in the pipeline: whether they are long
// enough for help. To wake the threads that could help takes longer than a short run.
type lone struct {
	runs int           // that were alone
	took time.Duration // by one without help, on average
}

// begins notes that a run begins to be computed, whose caller has inFlight runs. It reports
// whether this one is to be timed without help.
func (s *Server) begins(inFlight int) (tried bool) {
	if s.config.ShareThreads == nil {
		return false
	}
	s.computing.Lock()
	defer s.computing.Unlock()
	s.runs++
	alone := s.runs == 1 && inFlight <= 1
	if alone {
		tried = s.lone.runs%tryEvery == 0
		s.lone.runs++
	}
	s.config.ShareThreads(s.runs, alone && !tried && s.lone.took >= helpFrom)
	return tried
}

// ends notes that a run is no longer computed, and how long it took.
func (s *Server) ends(tried bool, took time.Duration) {
	if s.config.ShareThreads == nil {
		return
	}
	s.computing.Lock()
	defer s.computing.Unlock()
	if tried && s.lone.runs > 1 {
		took = (s.lone.took + took) / 2
	}
	if tried {
		s.lone.took = took
	}
	s.runs--
	s.config.ShareThreads(s.runs, false)
}

const (
	helpFrom = time.Millisecond
	tryEvery = 64 // one lone run in tryEvery has no help, to see how long that takes
)
