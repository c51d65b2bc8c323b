package page

// A Snapshot is the state of a front at a moment. Times are in milliseconds, rates are means of
// the last five seconds.
type Snapshot struct {
	Model Model `json:"model"`

	// Task is what the model does with a text, as Hugging Face names tasks. It is empty when
	// the model reads no texts, and NoText says why.
	Task   string   `json:"task,omitempty"`
	NoText string   `json:"no_text,omitempty"`
	Labels []string `json:"labels,omitempty"`

	MaxTexts int   `json:"max_texts"` // of all requests together
	MaxBody  int64 `json:"max_body"`  // bytes of a request
	MaxFile  int64 `json:"max_file"`  // bytes of a file of texts

	// Ready is whether every stage has a replica that can be used; NotReady says what is wrong.
	Ready    bool   `json:"ready"`
	NotReady string `json:"not_ready,omitempty"`

	Queue  Queue   `json:"queue"`
	Rates  Rates   `json:"rates"`
	Stages []Stage `json:"stages"` // by rank

	// Last is where the time of the last request went; nil before the first.
	Last *Last `json:"last,omitempty"`
}

// A Model is what the front serves.
type Model struct {
	Name   string `json:"name"`
	Bundle string `json:"bundle"` // the beginning of its ID
	Bytes  int64  `json:"bytes"`  // of the model before it was split
}

// A Queue is what waits and what is computed.
type Queue struct {
	Waiting         int `json:"waiting"`                  // texts that wait for their batch
	TextsInFlight   int `json:"texts_in_flight"`          // that wait or are computed
	BatchesInFlight int `json:"batches_in_flight"`        // that are computed
	BatchesTarget   int `json:"batches_in_flight_target"` // that should be, when there are enough texts
}

// Rates are how much is answered.
type Rates struct {
	Texts   float64 `json:"texts"`     // a second
	Batches float64 `json:"batches"`   // a second
	Waited  float64 `json:"waited_ms"` // requests for their batch, mean
	Took    float64 `json:"took_ms"`   // a batch, mean
}

// A Stage is one part of the pipeline.
type Stage struct {
	Rank           int     `json:"rank"`
	Nodes          int     `json:"nodes"`
	Parameters     int64   `json:"parameters"`
	ParameterBytes int64   `json:"parameter_bytes"`
	Cost           float64 `json:"cost"`      // share of the whole model's time, 0 to 1
	BytesOut       int64   `json:"bytes_out"` // sent in one run at the bundle's reference sizes

	Busy     float64 `json:"busy"`        // share of the time that its replicas could compute in, 0 to 1
	Waited   float64 `json:"waited_ms"`   // for a turn, mean of the batches
	Computed float64 `json:"computed_ms"` // mean of the batches

	Replicas []Replica `json:"replicas"`
}

// A Replica is one process that computes a stage.
type Replica struct {
	Address   string `json:"address"`
	Condition string `json:"condition"`         // ready, down, wrong or unknown
	Ejected   bool   `json:"ejected,omitempty"` // for a cooldown, while it answers
	Calls     int    `json:"calls"`             // in flight, from here
	Error     string `json:"error,omitempty"`   // why it is not ready
}

// A Last is where the time of a request went: of one in several batches, that of the last batch.
// The times of the stages add up to Took.
type Last struct {
	Ago      float64     `json:"ago_ms"` // since it was answered
	Texts    int         `json:"texts"`
	Tokenize float64     `json:"tokenize_ms"` // of the text's whole request
	Waiting  float64     `json:"waiting_ms"`  // until the batch began
	Took     float64     `json:"took_ms"`     // the batch
	Stages   []LastStage `json:"stages,omitempty"`
}

// A LastStage is where the time went at one stage, and on the way to it and back.
type LastStage struct {
	Rank     int     `json:"rank"`
	Transfer float64 `json:"transfer_ms"` // network, and reading and writing messages
	Waited   float64 `json:"waited_ms"`
	Computed float64 `json:"computed_ms"`
}
