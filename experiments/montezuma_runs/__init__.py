"""How far a single run of Montezuma's Revenge comes."""
