package ort

/*
#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
static void trim(void) { malloc_trim(0); }
#else
static void trim(void) {}
#endif
*/
import "C"

// trim gives memory that was freed back to the system. Loading a model frees
// about as much as it keeps (the file's own copy of the weights), and the C
// library would hold on to most of it.
func trim() { C.trim() }
